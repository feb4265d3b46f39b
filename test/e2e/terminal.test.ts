import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { makeContext, openUsers, outcomeOf, SHELL } from "../api/users.js";
import type { User, Users } from "../api/users.js";
import { describeWith } from "../support/packages.js";
import { processesWith } from "../support/processes.js";
import { openTerminal } from "../support/terminal.js";
import type { Terminal } from "../support/terminal.js";

let users: Users;
let user: User;
let dir: string;
let context: string;
beforeAll(async () => {
  users = openUsers();
  user = users.add({ subordinateIds: true });
  dir = mkdtempSync(join(tmpdir(), "cooper-terminal-"));
  chmodSync(dir, 0o755);
  context = makeContext(dir, "context", `${SHELL}RUN echo made > /made\nCMD ["sh"]\n`);
  writeFileSync(join(context, "Failing"), `${SHELL}ENV WHO=me\nWORKDIR /w\nRUN echo left > /left; exit 7\n`);
  for (const who of ["root", "a user"] as const) {
    const [program = "", ...args] = command(who, ["build", "-t", "box", context]);
    const built = await outcomeOf(program, args);
    if (built.code !== 0) throw new Error(built.stderr);
  }
}, 120_000);
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
  users[Symbol.dispose]();
});

type Who = "root" | "a user";

function command(who: Who, args: readonly string[]): readonly string[] {
  const program = [process.execPath, join(users.dist, "cooper.cjs")];
  const env = ["env", "-C", user.home, `HOME=${user.home}`];
  return who === "root"
    ? [...program, "--root", storeOf(who), ...args]
    : user.argv([...env, ...program, "--root", storeOf(who), ...args]);
}

function storeOf(who: Who): string {
  return who === "root" ? join(dir, "root") : join(user.home, "store");
}

const cooper = (who: Who, ...args: readonly string[]): Promise<Terminal> => openTerminal(command(who, args));

/** The modes that the terminal has again when all is over. */
const expectRestored = ({ text }: Terminal): void => {
  expect(text).toMatch(/modes=.* icanon .* echo /);
};

describeWith(["root", "mounts", "busybox", "newuidmap", "script"], "on a terminal", () => {
  describe.each(["root", "a user"] as const)("as %s", (who) => {
    test("cooper run -it: a shell with job control, and the window's size", async () => {
      const terminal = await cooper(who, "run", "--rm", "-it", "box", "sh");
      await terminal.see(/# /);
      expect(terminal.modes()).toContain("-icanon");
      terminal.type("tty; stty size\r");
      await terminal.see(/\/dev\/pts\/0\n30 90\n/);
      terminal.resize(41, 121);
      terminal.type("trap 'echo changed' WINCH; sleep 1; stty size\r");
      await terminal.see(/\n41 121\n/);
      terminal.type("sleep 1000\r");
      await terminal.see(/sleep 1000\n/);
      terminal.type("\x1a");
      await terminal.see(/Stopped/);
      terminal.type("bg; jobs; echo listed\r");
      await terminal.see(/Running[^]*\nlisted\n/);
      terminal.type("fg\r");
      await terminal.see(/fg\n/);
      terminal.type("\x03");
      terminal.type("echo code $?\r");
      await terminal.see(/code 130\n/);
      terminal.type("sleep 1000\r");
      await terminal.see(/sleep 1000\n/);
      terminal.type("\x1c");
      terminal.type("echo code $?\r");
      await terminal.see(/code 131\n/);
      terminal.type("exit 5\r");
      expect(await terminal.ended).toBe(5);
      expectRestored(terminal);
    });

    test("the end of input ends a reader, and the shell", async () => {
      const terminal = await cooper(
        who,
        "run",
        "--rm",
        "-it",
        "box",
        "sh",
        "-c",
        "echo ready; cat; echo over; exec sh",
      );
      await terminal.see(/ready\n/);
      terminal.type("typed\r\x04");
      await terminal.see(/typed\ntyped\nover\n[^]*# /);
      terminal.type("\x04");
      expect(await terminal.ended).toBe(0);
      expectRestored(terminal);
    });

    test("any step's id will do, a short one too", async () => {
      const [program = "", ...args] = command(who, ["build", "--progress=json", context]);
      const { stderr } = await outcomeOf(program, args);
      const ids = [...stderr.matchAll(/"imageId":"([0-9a-f]{64})"/g)].map(([, id = ""]) => id);
      const first = ids.at(1) ?? "";
      expect(ids.length).toBeGreaterThan(3);
      const terminal = await cooper(
        who,
        "run",
        "--rm",
        "-it",
        first.slice(0, 10),
        "sh",
        "-c",
        "ls /made; test -t 2 && echo yes",
      );
      await terminal.see(/No such file[^]*\nyes\n/);
      expect(await terminal.ended).toBe(0);
    });

    test("SIGTERM gives the terminal back and leaves no process", async () => {
      const marker = `5${process.pid}${who.length}`;
      const terminal = await cooper(who, "run", "--rm", "-it", "box", "sh", "-c", `echo up; sleep ${marker}`);
      await terminal.see(/up\n/);
      expect(terminal.modes()).toContain("-icanon");
      process.kill(cooperOn(marker), "SIGTERM");
      expect(await terminal.ended).toBe(143);
      expectRestored(terminal);
      expect(processesWith(marker)).toEqual([]);
    });

    test("SIGKILL gives the terminal back as well", async () => {
      const marker = `6${process.pid}${who.length}`;
      const run = command(who, ["run", "--rm", "-it", "box", "sh", "-c", `echo up; sleep ${marker}`]);
      // Something that does not care for the modes of its terminal, and stays on it.
      const terminal = await openTerminal(["sh", "-c", 'stty -ixon; "$@"; sleep 30; :', "sh", ...run]);
      await terminal.see(/up\n/);
      expect(terminal.modes()).toContain("-icanon");
      for (const pid of coopersOn(marker)) process.kill(pid, "SIGKILL");
      await vi.waitFor(
        () => expect(terminal.modes()).toEqual(expect.arrayContaining(["icanon", "echo", "-ixon"])),
        { timeout: 5000 },
      );
      // The shell in front, ours, and its sleep.
      await vi.waitFor(() => expect(terminal.pids()).toHaveLength(3), { timeout: 5000 });
      terminal.type("\x03");
      await terminal.ended;
    });

    test("a terminal that somebody else has taken over is left to him", async () => {
      const marker = `7${process.pid}${who.length}`;
      const run = command(who, ["run", "--rm", "-it", "box", "sh", "-c", `echo up; sleep ${marker}`]);
      const terminal = await openTerminal(["sh", "-c", '"$@"; echo over; sleep 30; :', "sh", ...run]);
      await terminal.see(/up\n/);
      terminal.set("echo", "-icanon");
      for (const pid of coopersOn(marker)) process.kill(pid, "SIGKILL");
      // The shell in front, ours, and its sleep.
      await vi.waitFor(() => expect(terminal.pids()).toHaveLength(3), { timeout: 5000 });
      await terminal.see(/over/);
      expect(terminal.modes()).toEqual(expect.arrayContaining(["-icanon", "echo"]));
      terminal.set("sane");
      terminal.type("\x03");
      await terminal.ended;
    });

    test("cooper build --on-failure=shell: what the step left, with its environment", async () => {
      const terminal = await cooper(
        who,
        "build",
        "--on-failure=shell",
        "-f",
        join(context, "Failing"),
        context,
      );
      await terminal.see(/--> Failed: exit status 7; here is a shell/);
      await terminal.see(/# /);
      terminal.type("tty; stty size; cat /left; pwd; echo I am $WHO, $TERM\r");
      await terminal.see(/\/dev\/pts\/0\n30 90\nleft\n\/w\nI am me, \w+/);
      terminal.type("sleep 1000\r");
      await terminal.see(/sleep 1000\n/);
      terminal.type("\x03");
      terminal.type("exit 3\r");
      expect(await terminal.ended).toBe(7);
      expect(terminal.text).toMatch(/Error: building at STEP "RUN echo left [^]*exit status 7/);
      expectRestored(terminal);
    });

    test.each([
      ["build", () => ["build", "--on-failure=shell", "-f", join(context, "Failing"), context]],
      ["run", () => ["run", "--rm", "-it", "box", "sh"]],
    ])("a terminal that hangs up ends cooper %s with all that it started", async (_name, args) => {
      // Whatever is cooper's own has the path of these users' dist/ among its arguments.
      expect(processesWith(users.dist)).toEqual([]);
      const terminal = await openTerminal(command(who, args()));
      await terminal.see(/# /);
      const marker = `8${process.pid}${who.length}`;
      terminal.type(`sleep ${marker} & trap '' HUP; sleep ${marker}\r`);
      await vi.waitFor(() => expect(processesWith(`sleep ${marker}`)).toHaveLength(2), { timeout: 5000 });
      expect(processesWith(users.dist)).not.toEqual([]);
      terminal.hangUp();
      await vi.waitFor(
        () => expect([...processesWith(users.dist), ...processesWith(`sleep ${marker}`)]).toEqual([]),
        { timeout: 10_000 },
      );
      expect(readdirSync(join(storeOf(who), "tmp"))).toEqual([]);
    });
  });
});

/** Process id of the cooper that the user started, by a word of its arguments. */
function cooperOn(marker: string): number {
  const [found] = coopersOn(marker);
  if (found === undefined) throw new Error(`no cooper with ${marker}`);
  return found;
}

/** With the one that it started in a user namespace. */
function coopersOn(marker: string): readonly number[] {
  return processesWith(marker)
    .filter((text) => /^\d+ \S*node \S*cooper\.cjs /.test(text))
    .map((text) => Number(text.split(" ")[0]));
}
