import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasCode } from "../../src/errors.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import type { Bench } from "../runtime/support.js";
import { attemptThousand, exited, openBench } from "../runtime/support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("C10: the root and the kernel's directories are no mount targets", () => {
  test.each([
    "/",
    "/..",
    "/a/..",
    "/proc",
    "/proc/self",
    "/proc/sys",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/shm",
    "/a/../../proc",
    "//proc//self/.",
  ])("%s", async (target) => {
    const run = bench.sh("true", { mounts: [{ type: "tmpfs", target }] });
    await expect(run).rejects.toSatisfy((error) => hasCode(error, "usage"));
  });

  test.each([
    ["/proc/sys", "/trap"],
    ["/proc", "/trap/self"],
    ["/", "/trap"],
    ["/", "/trap/proc/1"],
    ["/dev", "/trap/null"],
    ["/sys", "/trap/new"],
  ])("a link of the image to %s, as %s", async (leads, target) => {
    const layer = bench.layer();
    symlinkSync(leads, join(layer, "trap"));
    const run = bench.sh("true", { lowerDirs: [layer, bench.base], mounts: [{ type: "tmpfs", target }] });
    await expect(run).rejects.toThrow(/cannot mount the step's files: move_mount .*\(EINVAL\)/);
  });
});

describe("C06, C10: a target never leads out", () => {
  test("a link to a directory of the host is a path inside the image", async () => {
    const host = join(bench.dir, "host");
    mkdirSync(host, { recursive: true });
    writeFileSync(join(host, "victim"), "");
    const layer = bench.layer();
    symlinkSync(host, join(layer, "a"));
    const { status, upper } = await bench.sh("touch /a/new/x", {
      lowerDirs: [layer, bench.base],
      mounts: [{ type: "tmpfs", target: "/a/new" }],
    });
    expect([status, upper]).toEqual([exited(0), []]);
    expect(readdirSync(host)).toEqual(["victim"]);
  });

  test("C06: a parent that the step swaps for a link does not make us delete through it", async () => {
    const host = join(bench.dir, "host6");
    mkdirSync(host);
    mkdirSync(join(host, "victim"));
    // The image has deleted /a, so that it and what is in it are made for the step: nothing but such can be moved.
    const hidden = bench.layer();
    treeSyscalls().makeNode(join(hidden, "a"), "char", 0, { major: 0, minor: 0 });
    const { status, upper } = await bench.sh(`mv /a /b && ln -s ${host} /a`, {
      lowerDirs: [hidden, bench.base],
      mounts: [{ type: "tmpfs", target: "/a/victim" }],
    });
    // The listing looks through the link.
    expect([status, upper]).toEqual([exited(0), ["a", "a/victim", "b", "b/victim"]]);
    expect(readdirSync(host)).toEqual(["victim"]);
  });

  test("a parent swapped all the while by a step that shares a cache mount", async () => {
    const [shared, host] = [bench.layer(), join(bench.dir, "host10")];
    mkdirSync(host);
    const cache = { type: "bind", source: shared, target: "/c", readOnly: false } as const;
    const controller = new AbortController();
    const swap = `while :; do mkdir -p /c/sel; rm -rf /c/sel; ln -s ${host} /c/sel; rm -f /c/sel; done`;
    const swapper = bench
      .run(["/bin/sh", "-c", swap], { mounts: [cache] }, controller.signal)
      .catch(() => undefined);
    const deep = Array.from({ length: 10 }, () => ({ type: "tmpfs", target: "/c/sel/deep" }) as const);
    const [ran, refused] = await attemptThousand(() =>
      bench.sh("touch /c/sel/x", { mounts: [cache, ...deep] }),
    );
    controller.abort();
    await swapper;
    expect(readdirSync(host)).toEqual([]);
    expect(ran * 10).toBeGreaterThan(refused);
  });
});
