import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { attempt } from "../../src/runtime/doctor/attempt.js";
import { refusedBy } from "../../src/runtime/doctor/check.js";
import {
  checkCgroups,
  checkDrivers,
  checkNamespaces,
  checkNetwork,
  checkOverlay,
  readOwnRights,
} from "../../src/runtime/doctor/index.js";
import { openVerdicts, readRights } from "../../src/runtime/index.js";
import { mountsOfNoOther } from "../support/leftovers.js";
import { childPath, requireSandbox } from "./support.js";

const overlayChild = fileURLToPath(new URL("../../dist/overlay-child.cjs", import.meta.url));

let dir: string;
beforeAll(() => {
  requireSandbox();
  dir = mkdtempSync(join(tmpdir(), "cooper-doctor-test-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const rights = readOwnRights();
const mounts = (): readonly string[] => mountsOfNoOther(dir);

describe("as root", () => {
  test("every namespace can be made, and none of them stays", async () => {
    const before = mounts();
    const checks = await checkNamespaces(rights);
    expect(checks.map(({ name, ok }) => [name, ok])).toEqual(
      ["mount", "pid", "ipc", "uts", "net", "cgroup"].map((name) => [name, true]),
    );
    expect(mounts()).toEqual(before);
  });

  test.each([false, true])(
    "overlays are mounted and used (user.* marks: %j), and nothing stays",
    async (userNamespace) => {
      const before = mounts();
      const scratchDir = mkdtempSync(join(dir, "scratch-"));
      const checks = await checkOverlay({ scratchDir, childPath: overlayChild, userNamespace }, rights);
      expect(checks).toMatchObject([
        { name: "overlay", ok: true },
        { name: "many layers", ok: true },
      ]);
      expect(readdirSync(scratchDir)).toEqual([]);
      expect(mounts()).toEqual(before);
    },
  );

  test("limits are tried in cgroups, of which none stays", async () => {
    const checks = await checkCgroups(true);
    expect(checks.map(({ name }) => name)).toEqual(["layout", "memory", "cpu", "pids"]);
    for (const { ok, found } of checks.slice(1)) {
      if (ok !== true) continue;
      const place = found.replace("below ", "");
      expect(readdirSync(place).filter((name) => name.startsWith(`cooper-${process.pid}-`))).toEqual([]);
    }
  });

  test("the network is opened and closed", async () => {
    const checks = await checkNetwork(rights);
    expect(checks.map(({ name }) => name)).toEqual([
      "/dev/net/tun",
      "slirp4netns",
      "pasta",
      "--network=default",
    ]);
    for (const each of checks) if (each.ok === false) expect(each.advice).toBeTruthy();
  });

  test("drivers are tried anew, and what was remembered is written over", async () => {
    const scratchDir = mkdtempSync(join(dir, "drivers-"));
    const key = readRights("");
    const verdicts = openVerdicts(join(dir, "verdicts"), key, "1");
    verdicts.remember("native", { works: false, message: "was impossible" });
    const checks = await checkDrivers({ childPath, scratchDir, userNamespace: false }, verdicts, rights);
    expect(checks[0]).toEqual({ name: "native", ok: true, found: "works" });
    expect(openVerdicts(join(dir, "verdicts"), key, "1").recall("native")).toEqual({
      works: true,
    });
    expect(readdirSync(scratchDir)).toEqual([]);
  });
});

describe("a refusal as data", () => {
  test.each([
    ["unshare: unshare failed: Operation not permitted", "unshare", "EPERM"],
    ["unshare: write failed /proc/self/uid_map: Operation not permitted", undefined, "EPERM"],
    ["cannot mount /proc: mount /proc: operation not permitted (EPERM)", "mount", "EPERM"],
    ["cannot make namespaces: clone: a limit is reached (ENOSPC)", "clone", "ENOSPC"],
    ["a network namespace: unshare: unshare failed: No space left on device", "unshare", "ENOSPC"],
    ["spawn setpriv ENOENT", "setpriv", "ENOENT"],
    ["/dev/net/tun cannot be opened (EACCES)", undefined, "EACCES"],
    ["something else", undefined, undefined],
  ])("%s", (line, call, errno) => {
    expect(refusedBy(line)).toEqual({
      found: line,
      ...(call === undefined ? {} : { call }),
      ...(errno === undefined ? {} : { errno }),
    });
  });

  test("of a program that is not there, and of one that fails", async () => {
    expect(await attempt(["no-such-program-of-ours"])).toMatchObject({
      ok: false,
      refused: { call: "no-such-program-of-ours", errno: "ENOENT" },
    });
    expect(await attempt(["sh", "-c", "echo why >&2; exit 3"])).toMatchObject({
      ok: false,
      refused: { found: "why" },
    });
  });

  test("of a program that never ends, which is ended with all that it started", async () => {
    const result = await attempt(["sh", "-c", "sleep 1001 & echo $! ; sleep 1002"]);
    expect(result).toMatchObject({ ok: false, timedOut: true, refused: { found: "no answer within 5 s" } });
  }, 30_000);
});
