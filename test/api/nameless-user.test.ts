import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith } from "../support/packages.js";
import type { Outcome, Users } from "./users.js";
import { makeContext, openUsers, outcomeOf, SHELL } from "./users.js";

/** An id that no line of /etc/passwd has, as CI platforms hand them out. */
const ID = 1_234_567;

let users: Users;
let dir: string;
let home: string;

const cooper = (env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<Outcome> =>
  outcomeOf(
    "setpriv",
    [
      `--reuid=${ID}`,
      `--regid=${ID}`,
      "--clear-groups",
      process.execPath,
      join(users.dist, "cooper.cjs"),
      ...args,
    ],
    { cwd: home, env: { PATH: process.env["PATH"], ...env } },
  );

describeWith(["root", "mounts", "busybox", "unshare"], "a user without a line in /etc/passwd", () => {
  beforeAll(() => {
    users = openUsers();
    dir = mkdtempSync(join(tmpdir(), "cooper-nameless-"));
    chmodSync(dir, 0o755);
    home = join(dir, "home");
    mkdirSync(home);
    chownSync(home, ID, ID);
    makeContext(dir, "context", SHELL);
  });
  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
    users[Symbol.dispose]();
  });

  test("builds, warned that it has one id", async () => {
    const built = await cooper({ HOME: home }, "build", "-t", "shell", join(dir, "context"));
    expect(built).toMatchObject({ code: 0 });
    expect(built.stderr).toContain("no subordinate ids for this user in /etc/subuid");
  });

  test("needs no home directory when the store is named, and is told of it when not", async () => {
    const store = join(home, "store");
    const named = await cooper({ COOPER_ROOT: store }, "build", "-q", join(dir, "context"));
    expect(named).toMatchObject({ code: 0 });
    expect(await cooper({}, "images")).toMatchObject({
      code: 125,
      stderr:
        "Error: this user has no home directory to keep images in\n  hint: set COOPER_ROOT or HOME, or give --root\n",
    });
  });
});
