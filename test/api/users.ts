import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX } from "../support/lab.js";
import { copyModules } from "../support/installed.js";

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Ordinary users of this machine, and an installation of the command that they may read. Both go on dispose. */
export interface Users extends Disposable {
  /** An ordinary user's world; `subordinateIds`: with a range in /etc/subuid and /etc/subgid. */
  add(options: { readonly subordinateIds: boolean }): User;
  /** The installed dist directory. */
  readonly dist: string;
}

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly home: string;
  /** A program with its arguments, run as this user in its home directory. */
  run(
    argv: readonly string[],
    options?: { readonly input?: string; readonly env?: NodeJS.ProcessEnv },
  ): Promise<Outcome>;
  cooper(...args: readonly string[]): Promise<Outcome>;
  /** The command line that `run` starts. */
  argv(argv: readonly string[]): readonly [string, ...string[]];
}

export function openUsers(): Users {
  const dir = mkdtempSync(join(tmpdir(), "cooper-users-"));
  chmodSync(dir, 0o755);
  cpSync("dist", join(dir, "dist"), { recursive: true });
  copyModules(dir);
  // So that a script beside it imports the library as one that installed it does.
  copyFileSync("package.json", join(dir, "package.json"));
  symlinkSync("..", join(dir, "node_modules/cooperage"));
  execFileSync("chmod", ["-R", "a+rX", dir]);
  const names: string[] = [];
  return {
    dist: join(dir, "dist"),
    add({ subordinateIds }) {
      const name = `cooper-t${process.pid % 100_000}-${names.length}`;
      const none = ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"];
      execFileSync("useradd", [
        "--no-create-home",
        "--shell",
        "/bin/sh",
        ...(subordinateIds ? [] : none),
        name,
      ]);
      names.push(name);
      const uid = Number(execFileSync("id", ["-u", name], { encoding: "utf8" }));
      const home = join(dir, name);
      mkdirSync(home, { mode: 0o755 });
      chownSync(home, uid, uid);
      return userOf(name, uid, home, join(dir, "dist"));
    },
    [Symbol.dispose]() {
      for (const name of names) execFileSync("userdel", ["--force", name], { stdio: "ignore" });
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function userOf(name: string, uid: number, home: string, dist: string): User {
  const argv = (command: readonly string[]): readonly [string, ...string[]] => [
    "setpriv",
    `--reuid=${uid}`,
    `--regid=${uid}`,
    "--init-groups",
    ...command,
  ];
  const run: User["run"] = (command, { input = "", env = {} } = {}) => {
    const [program, ...args] = argv(command);
    return outcomeOf(program, args, {
      cwd: home,
      input,
      env: { PATH: process.env["PATH"], HOME: home, USER: name, ...env },
    });
  };
  return {
    name,
    uid,
    home,
    argv,
    run,
    cooper: (...args) => run([process.execPath, join(dist, "cooper.cjs"), ...args]),
  };
}

/** Runs a program to its end. */
export function outcomeOf(
  program: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly input?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  const { input = "", ...rest } = options;
  const child = spawn(program, args, { ...rest, stdio: "pipe" });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => (texts[name] += text));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, ...texts }));
  });
}

/** Processes with this real user id, as pid and command line; also those in its user namespaces that are root there. */
export function processesOf(uid: number): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const status = readFileSync(`/proc/${entry}/status`, "utf8");
      if (Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]) !== uid || /^State:\s+Z/m.test(status)) continue;
      found.set(Number(entry), readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " "));
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

/** The first stage of a Containerfile: a shell. */
export const SHELL = `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
`;

/** A context directory that everybody may read: busybox, a file `a` and the Containerfile. */
export function makeContext(dir: string, name: string, containerfile: string): string {
  const path = join(dir, name);
  mkdirSync(path);
  copyFileSync(BUSYBOX, join(path, "busybox"));
  writeFileSync(join(path, "a"), "a file\n");
  writeFileSync(join(path, "Containerfile"), containerfile);
  for (const [file, mode] of [
    ["busybox", 0o755],
    ["a", 0o644],
    ["Containerfile", 0o644],
    [".", 0o755],
  ] as const)
    chmodSync(join(path, file), mode);
  return path;
}
