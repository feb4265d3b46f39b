import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Diagnosis, DoctorCheck } from "../../src/cooper.js";
import { describeWith } from "../support/packages.js";
import type { Outcome, Users } from "./users.js";
import { openUsers, outcomeOf, processesOf } from "./users.js";

interface Answer extends Diagnosis {
  readonly code: number;
  check(group: DoctorCheck["group"], name: string): DoctorCheck | undefined;
}

function answerOf({ code, stdout, stderr }: Outcome): Answer {
  expect(stderr).toBe("");
  const diagnosis = JSON.parse(stdout) as Diagnosis;
  for (const each of [...diagnosis.checks, ...diagnosis.drivers]) {
    expect(each.found).not.toMatch(/\n/);
    if (each.errno !== undefined) expect(each.errno).toMatch(/^E[A-Z0-9]+$/);
  }
  return {
    ...diagnosis,
    code,
    check: (group, name) => diagnosis.checks.find((each) => each.group === group && each.name === name),
  };
}

describeWith(["root", "mounts", "unshare", "newuidmap"], "an ordinary user", () => {
  let users: Users;
  beforeAll(() => {
    users = openUsers();
  });
  afterAll(() => users?.[Symbol.dispose]());

  test("with subordinate ids gets native, by marks and ids of its own", async () => {
    const user = users.add({ subordinateIds: true });
    const answer = answerOf(await user.cooper("doctor", "--json"));
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    expect(answer.check("overlay", "overlay")).toMatchObject({
      ok: true,
      found: expect.stringContaining("user.*"),
    });
    expect(answer.check("ids", "/etc/subuid")).toMatchObject({ ok: true });
    expect(answer.check("system", "user")?.found).toContain(user.name);
    expect([...processesOf(user.uid).values()]).toEqual([]);
  });

  test("without them is told which to add", async () => {
    const user = users.add({ subordinateIds: false });
    const answer = answerOf(await user.cooper("doctor", "--json"));
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    for (const name of ["/etc/subuid", "unshare --map-auto", "by newuidmap"])
      expect(answer.check("ids", name)).toMatchObject({
        ok: false,
        advice: expect.stringContaining("--add-subuids"),
      });
    expect(answer.check("ids", "own id alone")).toMatchObject({ ok: true });
  });

  test("whom the kernel gives no user namespace is told the switch, and exit code 1", async () => {
    const user = users.add({ subordinateIds: true });
    mkdirSync(join(user.home, "s"));
    chmodSync(join(user.home, "s"), 0o777);
    // A user namespace in which there can be no other; its user 1 stands for an ordinary one.
    const script = `echo 0 > /proc/sys/user/max_user_namespaces
exec setpriv --reuid=1 --regid=1 --clear-groups "$0" "$1" --root "$2" doctor --json`;
    const cooper = [process.execPath, join(users.dist, "cooper.cjs"), join(user.home, "s/store")];
    const namespace = ["unshare", "--user", "--map-auto", "--map-root-user", "--"];
    const answer = answerOf(await user.run([...namespace, "sh", "-c", script, ...cooper]));
    expect(answer).toMatchObject({ code: 1, chosen: null });
    expect(answer.check("namespaces", "user")).toMatchObject({
      ok: false,
      call: "unshare",
      errno: "ENOSPC",
      advice: "sysctl user.max_user_namespaces=28633",
    });
    expect(answer.drivers.map(({ name, ok }) => [name, ok])).toEqual([
      ["native", false],
      ["oci", false],
      ["chroot", false],
    ]);
    expect(answer.drivers[0]?.advice).toBe("sysctl user.max_user_namespaces=28633");
  });
});

describeWith(["root", "mounts", "unshare"], "root", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "cooper-doctor-api-"));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const doctor = async (store: string, ...before: readonly string[]): Promise<Answer> => {
    const cooper = ["dist/cooper.cjs", "--root", join(dir, store), "doctor", "--json"];
    const [program = "", ...args] = [...before, process.execPath, ...cooper];
    return answerOf(await outcomeOf(program, args));
  };
  const weak = (set: string) => ["setpriv", `--bounding-set=${set}`, `--inh-caps=${set}`];

  test("with all rights gets native, and finds what it remembered", async () => {
    const answer = await doctor("all");
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    expect(answer.check("overlay", "many layers")).toMatchObject({ ok: true });
    expect(readdirSync(join(dir, "all/cache/probe"))).toHaveLength(1);
    expect(readdirSync(join(dir, "all/tmp"))).toEqual([]);
  });

  test("without CAP_SYS_ADMIN gets native in a user namespace of its own", async () => {
    const answer = await doctor("weak", ...weak("-sys_admin"));
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    expect(answer.check("system", "capabilities")).toMatchObject({
      ok: false,
      advice: expect.stringContaining("cap_add"),
    });
    expect(answer.check("ids", "all of root's")).toMatchObject({ ok: true });
  });

  test("that may make no namespace gets chroot, and is told what to change for native", async () => {
    const answer = await doctor("chroot", ...weak("-sys_admin,-setfcap"));
    expect(answer).toMatchObject({ code: 0, chosen: "chroot" });
    expect(answer.check("namespaces", "mount")).toMatchObject({ ok: false, call: "unshare", errno: "EPERM" });
    expect(answer.check("overlay", "overlay")).toMatchObject({ ok: "unknown" });
    expect(answer.drivers[0]).toMatchObject({
      name: "native",
      ok: false,
      call: "unshare",
      errno: "EPERM",
      advice: expect.stringMatching(
        /privileged = true[^]*cap_add = \["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"\]/,
      ),
    });
  });

  test("without CAP_SYS_PTRACE cannot read what a sealed process writes, and is told so", async () => {
    const answer = await doctor("untraced", ...weak("-sys_ptrace"));
    expect(answer.drivers[0]).toMatchObject({
      name: "native",
      ok: false,
      call: "open",
      errno: "EACCES",
      advice: expect.stringContaining("SYS_PTRACE"),
    });
  });

  test("without any right is told that nothing works", async () => {
    expect(await doctor("none", ...weak("-all"))).toMatchObject({ code: 1, chosen: null });
  });
});

describeWith(["root", "mounts", "unshare", "newuidmap"], "a store that cannot be opened", () => {
  let dir: string;
  let users: Users;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "cooper-doctor-store-"));
    chmodSync(dir, 0o755);
    users = openUsers();
  });
  afterAll(() => {
    users?.[Symbol.dispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Runs cooper where `dir` has been made read-only; before that, whatever `first` says. */
  const readOnly = (argv: readonly string[], first = "true"): Promise<Outcome> => {
    const script = `mount --bind "$0" "$0" && ${first} && mount -o remount,bind,ro "$0" && exec "$@"`;
    return outcomeOf("unshare", ["--mount", "sh", "-c", script, dir, process.execPath, ...argv]);
  };

  test("is a row, with path and errno, among all the others", async () => {
    const root = join(dir, "none");
    const answer = answerOf(await readOnly(["dist/cooper.cjs", "--root", root, "doctor", "--json"]));
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    expect(answer.check("store", "path")).toEqual({
      name: "path",
      group: "store",
      ok: false,
      found: `cannot open the store ${root}: read-only file system`,
      call: "mkdir",
      errno: "EROFS",
      advice: "choose another store with --root or COOPER_ROOT",
    });
    expect(answer.check("overlay", "overlay")).toMatchObject({ ok: true });
  });

  test("also one that is there and has become read-only, with what it remembers", async () => {
    const argv = ["dist/cooper.cjs", "--root", join(dir, "kept"), "doctor", "--json"];
    const answer = answerOf(await readOnly(argv, '"$@" > "$0/before"'));
    expect(JSON.parse(readFileSync(join(dir, "before"), "utf8"))).toMatchObject({ chosen: "native" });
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    expect(answer.check("store", "path")).toMatchObject({ ok: false, errno: "EROFS" });
  });

  test("what is no store is left alone", async () => {
    mkdirSync(join(dir, "other/things"), { recursive: true });
    const argv = ["dist/cooper.cjs", "--root", join(dir, "other"), "doctor", "--json"];
    const answer = answerOf(await outcomeOf(process.execPath, argv));
    expect(answer.check("store", "path")).toMatchObject({
      ok: false,
      found: expect.stringContaining("is not a store of cooper and not empty"),
      advice: "name another directory with --root",
    });
    expect(readdirSync(join(dir, "other"))).toEqual(["things"]);
  });

  test("an ordinary user with another's store gets all the rows too", async () => {
    const user = users.add({ subordinateIds: true });
    mkdirSync(join(dir, "roots"));
    const answer = answerOf(await user.cooper("doctor", "--root", join(dir, "roots"), "--json"));
    expect(answer).toMatchObject({ code: 0, chosen: "native" });
    expect(answer.check("store", "path")).toMatchObject({
      ok: false,
      found: `the store ${join(dir, "roots")} belongs to root`,
      advice: "run cooper as that user, or use another store with --root",
    });
    expect(answer.check("overlay", "overlay")).toMatchObject({
      ok: true,
      found: expect.stringContaining("user.*"),
    });
  });

  test.each([
    [["images"]],
    [["pull", "127.0.0.1:1/no/such"]],
    [["build", dirname(import.meta.filename)]],
    [["run", "--rm", "127.0.0.1:1/no/such"]],
  ])("and %j says so before anything else", async ([...argv]) => {
    const { code, stderr } = await readOnly(["dist/cooper.cjs", "--root", join(dir, "none"), ...argv]);
    expect(code).toBe(125);
    expect(stderr).toBe(`Error: cannot open the store ${join(dir, "none")}: read-only file system\n`);
  });
});

describe("what the shape promises", () => {
  test("groups come in their order", async () => {
    const { GROUPS } = await import("../../src/runtime/doctor/index.js");
    expect(GROUPS).toEqual([
      "system",
      "namespaces",
      "overlay",
      "cgroups",
      "ids",
      "network",
      "runtimes",
      "emulation",
      "store",
    ]);
  });
});
