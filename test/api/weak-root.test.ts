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

  test("without any capability it copies, and is told every rung that it cannot run by", async () => {
    const copies = makeContext(dir, "copies", COPIES);
    expect(await build("weakest", "-all", "-q", copies)).toMatchObject({ code: 0 });
    const refused = await build("weakest", "-all", join(dir, "shell"));
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(
      /\nError: nothing here can isolate a process: native: .*Operation not permitted.*; oci: .*; chroot: .*\n(?: {2}at .*\n)? {2}hint: .*--privileged/,
    );
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
