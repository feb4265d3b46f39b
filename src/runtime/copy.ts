import { readSync, writeSync } from "node:fs";
import type { Refusal } from "./helper-plan.js";
import { refusalOf, refusedError } from "./refusal.js";
import { close, makePipe, syscall, trySyscall } from "./syscalls.js";
import type { NetworkMode } from "./types.js";

const SIGCHLD = 17;
const CLONE_PIDFD = 0x1000;
/** NEWNS, NEWUTS, NEWIPC, NEWPID; that of cgroups comes when the process is in its own. */
const NEW_NAMESPACES = 0x00020000 + 0x04000000 + 0x08000000 + 0x20000000;
const CLONE_NEWNET = 0x40000000;
/** All of a process's address space but its first and last pages. */
const [LOWEST, HIGHEST] = [0x10000, 2 ** (process.arch === "arm64" ? 48 : 47) - 0x10000];

/** A copy of this process, and a descriptor that can be read when it has ended. */
export interface Copy {
  readonly pid: number;
  readonly pidFd: number;
}

/** A copy of this process, process 1 of new namespaces; undefined in the copy. */
export function copyIntoNamespaces(network: NetworkMode): Copy | undefined {
  return clone(NEW_NAMESPACES + (network === "none" ? CLONE_NEWNET : 0));
}

/** A copy of this process in the same namespaces; undefined in the copy. */
export function copySelf(): Copy | undefined {
  return clone(0);
}

/**
 * fork(2) into new namespaces; undefined in the copy. V8 marks its memory as not to be copied (to make spawning cheap),
 * so that is undone first: in one call, which goes on over holes and says ENOMEM at the end. The helper runs V8 without
 * threads, hence the copy lacks nothing. Should V8 map a page between the two calls the copy dies of it at once, and
 * the caller tries again.
 */
function clone(namespaces: number): Copy | undefined {
  const pidFd = Buffer.alloc(4);
  const flags = namespaces + CLONE_PIDFD + SIGCHLD;
  trySyscall("madvise", LOWEST, HIGHEST - LOWEST, 11 /* MADV_DOFORK */);
  const pid = trySyscall("clone", flags, 0, pidFd, 0, 0);
  if (pid === 0) return undefined;
  if (pid < 0) syscall("clone", undefined, flags, 0, pidFd, 0, 0);
  return { pid, pidFd: pidFd.readInt32LE(0) };
}

const WORKED = "-";

/**
 * Does something in a copy of this process, and waits for its end; throws what the copy throws. `work` may become another
 * program once it has called `becoming`. The status is as wait(2) encodes it.
 */
export function inCopy(work: (becoming: () => void) => void): number {
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const report = makePipe();
    const copy = copySelf();
    if (copy === undefined) workAndExit(work, report.writeEnd);
    close(report.writeEnd);
    const said = readAll(report.readEnd);
    const status = reap(copy.pid);
    close(copy.pidFd);
    if (said.length > 1) throw refusedError(JSON.parse(said.slice(said.indexOf("{"))) as Refusal);
    if (said === WORKED) return status;
  }
  throw new Error("the helper's copy crashed");
}

function workAndExit(work: (becoming: () => void) => void, report: number): never {
  const becoming = (): void => void writeSync(report, WORKED);
  try {
    work(becoming);
    becoming();
  } catch (error) {
    writeSync(report, JSON.stringify(refusalOf(error)));
  }
  exit();
}

/** The only way out of a copy: Node's own would wait for threads that were not copied. */
export function exit(status = 0): never {
  trySyscall("exit_group", status);
  throw new Error("still here after exit");
}

/** Reaps a child; its status as wait(2) encodes it. */
export function reap(pid: number): number {
  const status = Buffer.alloc(4);
  while (trySyscall("wait4", pid, status, 0, 0) === -4 /* EINTR */);
  return status.readInt32LE(0);
}

/** Which of the descriptors have something to read or have come to their end; waits until one has, or for so many ms. */
export function poll(fds: readonly number[], timeoutMs?: number): readonly boolean[] {
  const requests = Buffer.alloc(fds.length * 8);
  for (const [index, fd] of fds.entries()) {
    requests.writeInt32LE(fd, index * 8);
    requests.writeInt16LE(1 /* POLLIN */, index * 8 + 4);
  }
  const timeout = timeoutMs === undefined ? 0 : BigUint64Array.from([0n, BigInt(timeoutMs) * 1_000_000n]);
  while (trySyscall("ppoll", requests, fds.length, timeout, 0, 8) === -4 /* EINTR */);
  return fds.map((_, index) => requests.readInt16LE(index * 8 + 6) !== 0);
}

/** All that is written to a pipe until its other ends are closed; closes it. */
export function readAll(fd: number): string {
  const chunk = Buffer.alloc(65536);
  let text = "";
  for (let count = readSync(fd, chunk); count > 0; count = readSync(fd, chunk))
    text += chunk.toString("utf8", 0, count);
  close(fd);
  return text;
}

/** From here on the cgroup that this process is in is the root of those that it sees. */
export function separateCgroups(): void {
  syscall("unshare", undefined, 0x02000000 /* CLONE_NEWCGROUP */);
}
