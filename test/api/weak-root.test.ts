import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "../support/packages.js";
import { makeContext, outcomeOf, SHELL } from "./users.js";

describeWith(["root", "mounts", "busybox", "unshare"], "root that is not all-powerful", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "cooper-weak-"));
    makeContext(dir, "shell", SHELL);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const COPIES = "FROM scratch\nCOPY --chown=5:6 a /a\nWORKDIR /w\nENV A=1\n";

  /** `cooper build` as root with some capabilities gone; the store is in `dir`. */
  const build = (store: string, bounding: string, ...args: readonly string[]) => {
    const weak = [`--bounding-set=${bounding}`, `--inh-caps=${bounding}`];
    const cooper = ["dist/cooper.cjs", "--root", join(dir, store), "build"];
    return outcomeOf("setpriv", [...weak, process.execPath, ...cooper, ...args]);
  };

  test("without CAP_SYS_ADMIN it builds in a user namespace of its own, with every owner", async () => {
    const owners = makeContext(
      dir,
      "owners",
      `${SHELL}COPY --chown=5:6 a /a\nRUN stat -c %u:%g /a; chown 7:8 /a\n`,
    );
    const built = await build("weak", "-sys_admin", owners);
    expect(built).toMatchObject({ code: 0 });
    expect(built.stderr).toContain("\n5:6\n");
    expect(built.stderr).not.toMatch(/isolation|warning/i);
    const again = await build("weak", "-sys_admin", owners);
    expect(again.stdout).toBe(built.stdout);
  });

  test("where it may make no user namespace either it builds by chroot, and says why", async () => {
    const notRoot = "-sys_admin,-setfcap";
    const built = await build("chrooted", notRoot, join(dir, "shell"));
    expect(built).toMatchObject({ code: 0 });
    const [line, ...more] = built.stderr.split("\n").filter((each) => each.startsWith("isolation: "));
    expect(line).toMatch(
      /^isolation: chroot, since native does not work: .*Operation not permitted.*; oci does not work: .*share/,
    );
    expect(more).toEqual([]);
    const again = await build("chrooted", notRoot, join(dir, "shell"));
    expect(again.stdout).toBe(built.stdout);
    expect(again.stderr).not.toContain("isolation");
    const insists = await build("chrooted", notRoot, "--no-cache", "--isolation=native", join(dir, "shell"));
    expect(insists.code).toBe(125);
    expect(insists.stderr).toMatch(
      /^Error: isolation "native" does not work here: .*Operation not permitted/,
    );
  });

  test("without any capability it copies, and is told every rung that it cannot run by", async () => {
    const copies = makeContext(dir, "copies", COPIES);
    expect(await build("weakest", "-all", "-q", copies)).toMatchObject({ code: 0 });
    const refused = await build("weakest", "-all", join(dir, "shell"));
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(
      /\nError: nothing here can isolate a process: native: .*Operation not permitted.*; oci: .*; chroot: cannot enter the root file system: chroot .*\(EPERM\)\n(?: {2}at .*\n)? {2}hint: .*--privileged/,
    );
  });

  test("its store is not all-powerful root's, nor the reverse, and the error says what differs", async () => {
    const copies = makeContext(dir, "more-copies", COPIES);
    const all = ["dist/cooper.cjs", "--root", join(dir, "all"), "build", "-q", copies];
    expect(await outcomeOf(process.execPath, all)).toMatchObject({ code: 0 });
    expect(await build("less", "-sys_admin", "-q", copies)).toMatchObject({ code: 0 });
    const [more, less] = [
      "root with the right to mount (CAP_SYS_ADMIN)",
      "root without the right to mount (CAP_SYS_ADMIN), or in a user namespace",
    ];
    const line = (store: string, before: string, now: string): string =>
      `Error: the store ${join(dir, store)} was written by cooper running as ${before}; this one runs as ${now}\n` +
      "  hint: layers are marked in another way there: run cooper with the rights it was run with before, or use another store with --root\n";
    expect(await build("all", "-sys_admin", "-q", copies)).toMatchObject({
      code: 125,
      stderr: line("all", more, less),
    });
    all[2] = join(dir, "less");
    expect(await outcomeOf(process.execPath, all)).toMatchObject({
      code: 125,
      stderr: line("less", less, more),
    });
  });

  test("in a user namespace of its own it builds and runs", async () => {
    const root = join(dir, "store of a namespace");
    const cooper = ["--root", root, "build", "-q", "-t", "n", join(dir, "shell")];
    const built = await outcomeOf("unshare", [
      "--user",
      "--map-root-user",
      process.execPath,
      "dist/cooper.cjs",
      ...cooper,
    ]);
    expect(built).toMatchObject({ code: 0 });
  });
});
