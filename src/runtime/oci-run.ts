import {
  fchmodSync,
  fchownSync,
  fstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { execute, loadFilter, openFiles, resetSignals, setLimits, takeStdio } from "./become.js";
import type { Stdio } from "./become.js";
import { exit, inCopy, readAll, reap, separateCgroups } from "./copy.js";
import { fillDev } from "./devices.js";
import type { HelperPlan, Refusal } from "./helper-plan.js";
import { INHERITED } from "./helper-plan.js";
import { HOST_PATH } from "./host-path.js";
import { joinNetwork, raiseLoopback } from "./join-network.js";
import { listenForConsole, receiveConsole } from "./oci-console.js";
import { lookUp } from "./oci-lookup.js";
import type { OciRuntime } from "./oci-runtime.js";
import { runtimeSpec } from "./oci-spec.js";
import { doing, refusalOf, refusedError } from "./refusal.js";
import { openInRoot } from "./root-walk.js";
import type { Traces } from "./root-walk.js";
import { attachSystem, mountRootfs } from "./rootfs.js";
import { underlyingFilter } from "./seccomp.js";
import {
  AT_FDCWD,
  MOUNT,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  attachMount,
  cString,
  close,
  newMount,
  openAt,
  restrictMountAt,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";

/** What the helper's copy says about a process that it leaves to a runtime, a line each. */
export type Outcome =
  /** The copy's descriptor of a terminal's master end; it waits for a byte before it starts the process. */
  | { readonly terminal: number }
  /** As wait(2) encodes it. */
  | { readonly status: number }
  | { readonly refusal: Refusal };

/** The pipe ends that the copy has: to say outcomes, and to be told that the terminal was taken. */
export interface Link {
  readonly outcome: number;
  readonly go: number;
}

const ID = "step";
const LOG = "log";
const PID_FILE = "pid";
const CONSOLE = "console";

/**
 * In the helper's copy, process 1 of its namespaces, in place of becoming the command: makes all that a runtime is not
 * to make, has it make the rest, and waits for the process. Nothing has to be deleted afterwards: the runtime keeps its
 * state in a mount of this namespace, makes no cgroup since it sees none that it could make one in, and everything ends
 * when this copy does. `mounted` is told as soon as the root file system is mounted.
 */
export function superviseRuntime(
  plan: HelperPlan,
  filter: Buffer | undefined,
  stdio: Stdio,
  link: Link,
  mounted: (traces: Traces) => void,
): never {
  const say = (what: Outcome): void => void writeSync(link.outcome, `${JSON.stringify(what)}\n`);
  try {
    if (plan.runtime === null) throw new Error("no runtime");
    say({ status: supervise(plan, plan.runtime, filter, stdio, link, say, mounted) });
  } catch (error) {
    say({ refusal: refusalOf(error) });
  }
  exit();
}

function supervise(
  plan: HelperPlan,
  runtime: OciRuntime,
  filter: Buffer | undefined,
  stdio: Stdio,
  link: Link,
  say: (what: Outcome) => void,
  mounted: (traces: Traces) => void,
): number {
  if (plan.network === "private")
    doing("enter the private network", () => joinNetwork(plan.networkNamespace));
  const { rootFd, place, traces } = mountRootfs(plan, undefined);
  mounted(traces);
  doing("mount /sys", () => attachSystem(rootFd, "sys", plan));
  const bundle = makeBundle(plan, place);
  const cwd = doing("enter the working directory", () => makeWorkingDirectory(rootFd, plan.cwd));
  if (plan.network === "none") doing("bring up the loopback interface", raiseLoopback);
  setLimits();
  const found = lookUp(plan, filter, rootFd, cwd);
  close(rootFd);
  if (found.kind === "refused") throw refusedError(found.refusal);
  if (found.kind === "failed") {
    writeSync(plan.stdio === "tty" ? INHERITED.stderr : stdio.stderr, `${found.reason}\n`);
    return found.status << 8;
  }
  const spec = runtimeSpec(plan, {
    ...bundle,
    cwd,
    command: commandOf(plan, found.path),
    openFiles: openFiles(),
    mayChangeGroups: !plan.userNamespace || readFileSync("/proc/self/setgroups", "utf8").trim() !== "deny",
  });
  writeFileSync("config.json", spec);
  const cgroups = doing("open the cgroup", () =>
    plan.cgroups.map((file) => syscall("openat", file, AT_FDCWD, cString(file), O_WRONLY | O_CLOEXEC, 0)),
  );
  doing("give the runtime /proc", () => coverWith("/proc", newMount("proc", {}, 0)));
  // Only the owner of a cgroup namespace may mount the file system that is to cover the others.
  doing("make a cgroup namespace", separateCgroups);
  doing("keep the runtime from cgroups", coverCgroups);
  return start(plan, runtime, { stateDir: bundle.stateDir, cgroups }, stdio, link, say);
}

/** What a runtime finds by PATH as we do, it is told as the user wrote it, so that the process sees its own name. */
function commandOf(plan: HelperPlan, path: string | undefined): string {
  const [command = ""] = plan.argv;
  const found = plan.env.some((entry) => entry.startsWith("PATH=")) && path?.startsWith("/") === true;
  return command.includes("/") || found ? command : (path ?? command);
}

interface Bundle {
  readonly rootDir: string;
  readonly devDir: string;
  readonly stateDir: string;
}

/** Files for the runtime, in the tmpfs that nobody else sees. This becomes the working directory. */
function makeBundle(plan: HelperPlan, place: string): Bundle {
  const home = realpathSync(plan.mountPoint);
  for (const name of ["B", "B/state", "H", "H/dev"]) mkdirSync(`${home}/${name}`);
  const homeFd = openAt(AT_FDCWD, `${home}/H`, O_PATH | O_DIRECTORY);
  doing("mount /dev", () => attachSystem(homeFd, "dev", plan));
  doing("fill /dev", () => fillDev(homeFd, plan, undefined));
  // A runtime puts the terminal there too, and not every one makes the place for it.
  if (plan.stdio === "tty") writeFileSync(`${home}/H/dev/console`, "");
  close(homeFd);
  syscall("chdir", home, cString(`${home}/B`));
  return { rootDir: `${home}/${place}`, devDir: `${home}/H/dev`, stateDir: `${home}/B/state` };
}

/** The path without links; made when missing, as the native driver does. What lies in /proc only the runtime can know. */
function makeWorkingDirectory(rootFd: number, path: string): string {
  let inProc = false;
  const before = (names: readonly string[]): void => {
    inProc = names[0] === "proc";
    if (inProc) throw syscallError("ENOENT", "chdir", path);
  };
  try {
    const found = openInRoot(rootFd, path, { kind: "directory", before });
    if (found === undefined) throw syscallError("ENOENT", "chdir", path);
    const isDirectory = trySyscall("openat", found.fd, cString("."), O_PATH | O_DIRECTORY, 0);
    if (isDirectory < 0) throw syscallError("ENOTDIR", "chdir", path);
    close(isDirectory);
    close(found.fd);
    const resolved = Buffer.from(`/${found.names.join("/")}`, "latin1");
    const text = resolved.toString("utf8");
    return Buffer.from(text, "utf8").equals(resolved) ? text : path;
  } catch (error) {
    if (inProc) return path;
    throw error;
  }
}

function coverWith(path: string, mountFd: number): void {
  const target = openAt(AT_FDCWD, path, O_PATH | O_DIRECTORY);
  attachMount(mountFd, target, path);
  close(target);
  close(mountFd);
}

/**
 * Runtimes want to make cgroups, which would outlive a killed cooper, and some refuse hosts that have both kinds. So
 * they are shown a host of the new kind that lets nobody make any; or, where the kernel has no such thing, none at all.
 */
function coverCgroups(): void {
  const attributes = MOUNT.readOnly | MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec;
  const place = "/sys/fs/cgroup";
  if (trySyscall("openat", AT_FDCWD, cString(place), O_PATH | O_DIRECTORY, 0) < 0) return;
  try {
    coverWith(place, newMount("cgroup2", {}, attributes));
  } catch {
    coverWith(place, newMount("tmpfs", { mode: "755" }, attributes));
  }
}

interface Opened {
  readonly stateDir: string;
  /** The files that put a process into its cgroups, opened before they were covered. */
  readonly cgroups: readonly number[];
}

function start(
  plan: HelperPlan,
  runtime: OciRuntime,
  { stateDir, cgroups }: Opened,
  stdio: Stdio,
  link: Link,
  say: (what: Outcome) => void,
): number {
  const options = ["--root", stateDir, "--log", LOG, "--log-format", "json", ...runtime.flags];
  const nothing = openAt(AT_FDCWD, "/dev/null", O_RDWR);
  const quiet = { stdin: nothing, stdout: nothing, stderr: nothing };
  const call = (args: readonly string[], streams: Stdio): void => {
    const status = runProgram([runtime.path, ...options, ...args], streams, plan.filter.kind === "default");
    if (status !== 0) throw refusedBy(runtime, args[0] ?? "", status);
  };
  const create = ["create", "--bundle", ".", "--pid-file", PID_FILE];
  if (plan.stdio === "tty") {
    const socket = listenForConsole(CONSOLE);
    call([...create, "--console-socket", CONSOLE, ID], quiet);
    const master = doing("take the terminal", () => receiveConsole(socket, plan.terminal));
    say({ terminal: master });
    readAll(link.go);
    // Only the driver may hold the master, or its end would never be seen.
    close(master);
  } else keepingOwners(inheritedOf(plan), () => call([...create, ID], stdio));
  const pid = Number(readFileSync(PID_FILE, "utf8"));
  doing("seal the mounts", () => sealMounts(pid));
  // The process alone: what the runtime and this copy use is not the step's.
  doing("enter the cgroup", () => cgroups.forEach((file) => writeSync(file, String(pid))));
  call(["start", ID], quiet);
  return reap(pid);
}

/** Streams that are not ours to give to the process's user. */
function inheritedOf({ stdin, stdio }: HelperPlan): readonly number[] {
  const outputs = stdio === "inherit" ? [INHERITED.stdout, INHERITED.stderr] : [];
  return stdin === "inherit" ? [INHERITED.stdin, ...outputs] : outputs;
}

/** Runtimes give every stream to the process's user, also the file or terminal that cooper was called with. */
function keepingOwners(fds: readonly number[], work: () => void): void {
  const before = fds.map((fd) => ({ fd, stats: fstatSync(fd) }));
  try {
    work();
  } finally {
    for (const { fd, stats } of before) {
      const { uid, gid, mode } = stats;
      const now = fstatSync(fd);
      if (now.uid === uid && now.gid === gid) continue;
      fchownSync(fd, uid, gid);
      // A new owner has taken these bits away.
      if ((mode & 0o6000) !== 0) fchmodSync(fd, mode & 0o7777);
    }
  }
}

/** Runs a program of the host to its end; its status as wait(2) encodes it. */
function runProgram(argv: readonly string[], stdio: Stdio, filtered: boolean): number {
  return inCopy((becoming) => {
    takeStdio(stdio, false);
    if (filtered) loadFilter(underlyingFilter());
    resetSignals();
    becoming();
    throw new Error(execute(argv, [`PATH=${HOST_PATH}`]).reason);
  });
}

/**
 * Some runtimes lose attributes of what they bind: then root could open a device that lies in an image, and with it the
 * disk of the host. The process has not been started yet, so that it never sees its mounts without them.
 */
function sealMounts(pid: number): void {
  inCopy(() => {
    const namespace = openAt(AT_FDCWD, `/proc/${pid}/ns/mnt`, O_RDONLY);
    syscall("setns", undefined, namespace, 0x00020000 /* CLONE_NEWNS */);
    restrictMountAt("/", MOUNT.noDev);
    restrictMountAt("/dev", MOUNT.noSuid | MOUNT.noExec);
  });
}

/** The last error in the runtime's log. */
function refusedBy(runtime: OciRuntime, command: string, status: number): Error {
  const lines = readLog().trim().split("\n");
  const message = lines.map(messageOf).findLast((line) => line !== "") ?? `status ${status >> 8 || status}`;
  return refusedError({ doing: `${command} the process with ${runtime.name}`, message });
}

function readLog(): string {
  try {
    return readFileSync(LOG, "utf8");
  } catch {
    return "";
  }
}

function messageOf(line: string): string {
  try {
    const { level, msg } = JSON.parse(line) as { readonly level?: string; readonly msg?: string };
    return level === "error" || level === "fatal" || level === undefined ? (msg ?? "") : "";
  } catch {
    return line;
  }
}
