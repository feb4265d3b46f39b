import { fchownSync, openSync, readSync, writeSync } from "node:fs";
import { capabilityMask } from "./capabilities.js";
import type { HelperPlan } from "./helper-plan.js";
import { INHERITED } from "./helper-plan.js";
import { raiseLoopback } from "./join-network.js";
import { doing } from "./refusal.js";
import { openInRoot } from "./root-walk.js";
import {
  AT_FDCWD,
  O_DIRECTORY,
  O_PATH,
  O_RDWR,
  addressOf,
  cString,
  cStringArray,
  close,
  errnoName,
  openAt,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";

/** Why a profile of the user ended a process before it began. */
export const STRANGLED =
  "the seccomp profile ends it: it must allow what starts a command (setgroups, setresuid, capset, write, execve and the like)";

const PATH_WHEN_UNSET = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_CAP_AMBIENT = 47;
const PR_SET_NO_NEW_PRIVS = 38;
const LAST_CAPABILITY = 63;
const EPERM = 1;
const EINVAL = 22;
const ENOSYS = 38;
const KEYCTL_JOIN_SESSION_KEYRING = 1;
const RLIMIT_CORE = 4;
const RLIMIT_NOFILE = 7;
/** Enough for any build tool, and few enough that a program which closes every possible descriptor takes a millisecond. */
const OPEN_FILES = 65536n;

/** Descriptors for the process's stdin, stdout and stderr. */
export interface Stdio {
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

/** Host name, loopback interface, working directory and limits, still with all rights; the root is the step's already. */
export function furnish(plan: HelperPlan): void {
  doing("set the host name", () => {
    const name = Buffer.from(plan.hostname, "utf8");
    syscall("sethostname", undefined, name, name.length);
  });
  if (plan.network === "none") doing("bring up the loopback interface", raiseLoopback);
  settle(plan);
}

/** Working directory, umask and limits of a process whose root is the step's already. */
export function settle(plan: Pick<HelperPlan, "cwd" | "ulimits">): void {
  doing("enter the working directory", () => enterWorkingDirectory(plan.cwd));
  setLimits();
  for (const limit of plan.ulimits) doing(`set the limit ${limit.name}`, () => setLimit(limit));
}

/** When memory runs out this process should go, and what it becomes or starts, and not cooper. Raising it needs no right. */
export function offerMemory(): void {
  const fd = openSync("/proc/self/oom_score_adj", "r+");
  const text = Buffer.alloc(16);
  const score = Number(text.toString("latin1", 0, readSync(fd, text, 0, text.length, 0)));
  if (score < 500) writeSync(fd, "500");
  close(fd);
}

/** The usual limits, which are inherited by all that follows. */
export function setLimits(): void {
  process.umask(0o022);
  setSoftLimit(RLIMIT_NOFILE, OPEN_FILES);
  setSoftLimit(RLIMIT_CORE, 0n);
}

/** How many files a process may open, now and at most. */
export function openFiles(): { readonly soft: number; readonly hard: number } {
  const limit = new BigUint64Array(2);
  syscall("prlimit64", undefined, 0, RLIMIT_NOFILE, null, limit);
  return { soft: Number(limit[0]), hard: Number(limit[1]) };
}

/** Made when missing; never outside of the root, whatever links or descriptors lead there (hazard C08). */
function enterWorkingDirectory(path: string): void {
  const rootFd = openAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
  const found = openInRoot(rootFd, path, { kind: "directory", before: () => undefined });
  if (found === undefined) throw syscallError("ENOENT", "chdir", path);
  const result = trySyscall("fchdir", found.fd);
  if (result < 0) throw syscallError("ENOTDIR", "chdir", path);
  close(found.fd);
  close(rootFd);
  const here = Buffer.alloc(8192);
  syscall("getcwd", path, here, here.length);
  // The kernel marks a directory that cannot be reached from the root with a word in front.
  if (here[0] !== 0x2f) throw syscallError("EXDEV", "chdir", path);
}

/** Lowers the soft limit; a hard limit is never raised, and its owner's lower one is respected. */
function setSoftLimit(resource: number, wanted: bigint): void {
  const limit = new BigUint64Array(2);
  if (trySyscall("prlimit64", 0, resource, null, limit) < 0) return;
  limit[0] = wanted < (limit[1] ?? 0n) ? wanted : (limit[1] ?? 0n);
  trySyscall("prlimit64", 0, resource, limit, null);
}

function setLimit({ name, resource, soft, hard }: HelperPlan["ulimits"][number]): void {
  const limit = BigUint64Array.from([soft, hard].map((value) => BigInt.asUintN(64, BigInt(value))));
  syscall("prlimit64", name, 0, resource, limit, null);
}

/** A new session, so that no terminal of the host can be reached or typed into (hazard X09); in "tty" mode the step's own. */
export function takeStdio(stdio: Stdio, terminal: boolean): void {
  if (terminal)
    doing("take the terminal", () => syscall("ioctl", undefined, stdio.stdin, 0x540e /* TIOCSCTTY */, 0));
  // None of them may lie where another is to go.
  const [stdin, stdout, stderr] = [stdio.stdin, stdio.stdout, stdio.stderr].map((fd) =>
    syscall("fcntl", undefined, fd, 1030 /* F_DUPFD_CLOEXEC */, 10),
  );
  for (const [target, fd] of [stdin, stdout, stderr].entries()) {
    syscall("dup3", undefined, fd ?? -1, target, 0);
    const flags = syscall("fcntl", undefined, target, 3 /* F_GETFL */);
    // Node makes its own end of an inherited stream non-blocking; programs do not expect that.
    if ((flags & 0x800) !== 0) trySyscall("fcntl", target, 4 /* F_SETFL */, flags & ~0x800);
  }
}

/**
 * Gives the process's user the streams that were made for it, as OCI runtimes do: whoever opens /dev/stdout opens the
 * pipe or terminal anew, and has to have its rights. Never what the caller of cooper has there.
 */
export function giveStreams({ stdout, stderr }: Stdio, uid: number, stdio: HelperPlan["stdio"]): void {
  if (stdio === "inherit") return;
  for (const fd of [stdout, stderr]) fchownSync(fd, uid, -1);
}

/** Where the process's streams come from, for those that are not pipes or a terminal of ours. */
export function openStdin(plan: Pick<HelperPlan, "stdin">, bytes: number | undefined): number {
  if (bytes !== undefined) return bytes;
  return plan.stdin === "inherit" ? INHERITED.stdin : openAt(AT_FDCWD, "/dev/null", O_RDWR);
}

export type Identity = Pick<HelperPlan, "security" | "uid" | "gid" | "groups" | "userNamespace" | "filter">;

/**
 * Gives up every right that the process is not to have. The filter goes in while we still hold CAP_SYS_ADMIN, since
 * without no_new_privs (which would break sudo and su) only its holder may; it allows what follows.
 */
export function takeIdentity(plan: Identity, filter: Buffer | undefined): void {
  const mask = capabilityMask(plan.security.capabilities);
  doing("take a keyring of its own", leaveKeys);
  doing("drop capabilities", () => {
    narrowBoundingSet(mask);
    trySyscall("prctl", PR_CAP_AMBIENT, 4 /* CLEAR_ALL */, 0, 0, 0);
  });
  if (plan.security.noNewPrivileges)
    doing("set no_new_privs", () => syscall("prctl", undefined, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (filter !== undefined) loadFilter(filter, plan.filter.kind === "given" ? plan.filter.flags : 0);
  doing(`become user ${plan.uid}:${plan.gid}`, () => {
    const groups = Uint32Array.from(plan.groups);
    const result = trySyscall("setgroups", groups.length, new Uint8Array(groups.buffer));
    // A user namespace with a single id may not change groups at all: there are none to leave either. Any other refusal
    // is one: without its groups a process may read what a file denies to them.
    if (result < 0 && !(plan.userNamespace && result === -EPERM))
      throw syscallError(errnoName(-result), "setgroups", groups.join());
    syscall("setresgid", undefined, plan.gid, plan.gid, plan.gid);
    syscall("setresuid", undefined, plan.uid, plan.uid, plan.uid);
    const kept = plan.uid === 0 ? mask : 0n;
    const [low, high] = [Number(kept & 0xffffffffn), Number(kept >> 32n)];
    const header = new Uint8Array(Uint32Array.from([0x20080522, 0]).buffer);
    const sets = new Uint8Array(Uint32Array.from([low, low, 0, high, high, 0]).buffer);
    syscall("capset", undefined, header, sets);
  });
}

/** Keys of the caller's session (of Kerberos, of encrypted directories) go to whatever it starts, whoever that becomes. */
function leaveKeys(): void {
  const result = trySyscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, null);
  // A kernel without keys, or a filter around us that leaves nobody any.
  if (result < 0 && ![ENOSYS, EPERM].includes(-result)) throw syscallError(errnoName(-result), "keyctl");
}

/** The bounding set is what root gets back at its next execve, so nothing beyond the mask may stay in it. */
function narrowBoundingSet(mask: bigint): void {
  for (let capability = 0n; capability <= LAST_CAPABILITY; capability += 1n) {
    if ((mask >> capability) & 1n) continue;
    const there = trySyscall("prctl", PR_CAPBSET_READ, capability, 0, 0, 0);
    if (there === -EINVAL) return; // beyond the kernel's last
    if (there !== 0) syscall("prctl", "PR_CAPBSET_DROP", PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
}

/** Puts a system call filter on this process and on all that it becomes. Needs CAP_SYS_ADMIN, or no_new_privs. */
export function loadFilter(filter: Buffer, flags = 0): void {
  doing("load the system call filter", () => {
    // struct sock_fprog: a count and, at the next pointer's place, the address.
    const program = BigUint64Array.from([BigInt(filter.length / 8), addressOf(filter)]);
    syscall("seccomp", undefined, 1, flags, program);
  });
}

/** Signals as a new process expects them: Node ignores SIGPIPE, and ignored ones survive execve. */
export function resetSignals(): void {
  const byDefault = Buffer.alloc(32);
  for (let signal = 1; signal <= 64; signal += 1) trySyscall("rt_sigaction", signal, byDefault, null, 8);
  trySyscall("rt_sigprocmask", 2, Buffer.alloc(8), null, 8);
}

/**
 * Becomes the command; returns only when that failed, with the status and the line for its stderr. Looks for it itself
 * because execve has no PATH, as the user it runs as, and in the order and with the answers of other tools. `before` is
 * told each path that is tried.
 */
export function execute(
  argv: readonly string[],
  env: readonly string[],
  before: (path: string) => void = () => undefined,
): { readonly status: number; readonly reason: string } {
  const [command = ""] = argv;
  const args = cStringArray(argv);
  const variables = cStringArray(env);
  trySyscall("close_range", 3, 0xffffffff, 4 /* CLOSE_RANGE_CLOEXEC */);
  let refused = 0;
  for (const path of candidates(command, env)) {
    before(path);
    const errno = -trySyscall("execve", cString(path), args.pointers, variables.pointers);
    // ENOENT and ENOTDIR: not here. EACCES: remember it, another directory may have a better one.
    if (errno === 13) refused = errno;
    else if (errno !== 2 && errno !== 20) return failure(command, errno);
  }
  return failure(command, refused === 0 ? 2 : refused);
}

function candidates(command: string, env: readonly string[]): readonly string[] {
  if (command === "") return [];
  if (command.includes("/")) return [command];
  const path = env.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? PATH_WHEN_UNSET;
  return path.split(":").map((dir) => `${dir === "" ? "." : dir}/${command}`);
}

function failure(command: string, errno: number): { readonly status: number; readonly reason: string } {
  if (errno === 2) {
    const where = command.includes("/") ? "no such file or directory" : "executable file not found in $PATH";
    return { status: 127, reason: `exec "${command}": ${where}` };
  }
  const reasons: Readonly<Record<number, string>> = {
    7: "argument list too long",
    8: "exec format error",
    13: "permission denied",
  };
  return { status: 126, reason: `exec "${command}": ${reasons[errno] ?? `error ${errno}`}` };
}
