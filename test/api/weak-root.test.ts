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

  test.each([
    ["without CAP_SYS_ADMIN", ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]],
    ["without any capability", ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]],
  ] as const)("%s copies, and is told why it cannot run", async (name, [program, ...flags]) => {
    const root = join(dir, `store ${name}`);
    const cooper = [process.execPath, "dist/cooper.cjs", "--root", root, "build"];
    const copies = makeContext(dir, `copies ${name}`, COPIES);
    expect(await outcomeOf(program, [...flags, ...cooper, "-q", copies])).toMatchObject({ code: 0 });
    const refused = await outcomeOf(program, [...flags, ...cooper, join(dir, "shell")]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(
      /\nError: cannot start a sandbox: unshare: .*Operation not permitted\n(?: {2}at .*\n)? {2}hint: .*--privileged/,
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
