import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { syscallError, trySyscall } from "./syscalls.js";

const SIGKILL = 9;
const SIGSTOP = 19;
const WNOHANG = 1;
const PAUSE_MS = 5;
/** Who cannot be ended in this time will not be. */
const ROUNDS = 2000;

/**
 * Ends everything that descends from this process, which must be a child subreaper (PR_SET_CHILD_SUBREAPER): then no
 * descendant can leave it, however it forks. They are stopped before they are killed, so that none can start another
 * meanwhile. Throws EPERM when some live on.
 */
export function endDescendants(): void {
  endAll(descendants);
}

/**
 * Ends everything whose root directory is this one, as far as that may be seen: of processes of other users only
 * CAP_SYS_PTRACE shows it. Throws EPERM when some live on.
 */
export function endProcessesIn(dir: string): void {
  const root = realpathSync(dir);
  endAll(() => runningProcesses().filter((pid) => rootOf(pid) === root));
}

function endAll(find: () => readonly number[]): void {
  const status = Buffer.alloc(4);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let round = 0; round < ROUNDS; round += 1) {
    while (trySyscall("wait4", -1, status, WNOHANG, 0) > 0);
    const found = find();
    if (found.length === 0) return;
    for (const pid of found) trySyscall("kill", pid, SIGSTOP);
    for (const pid of found) trySyscall("kill", pid, SIGKILL);
    Atomics.wait(pause, 0, 0, round === 0 ? 1 : PAUSE_MS);
  }
  throw syscallError("EPERM", "kill");
}

function descendants(): readonly number[] {
  const children = new Map<number, number[]>();
  for (const pid of runningProcesses()) {
    const parent = parentOf(pid);
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings) siblings.push(pid);
    else children.set(parent, [pid]);
  }
  const found: number[] = [];
  for (const pending = [process.pid]; pending.length > 0;) {
    const below = children.get(pending.pop() ?? 0) ?? [];
    found.push(...below);
    pending.push(...below);
  }
  return found;
}

function runningProcesses(): readonly number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

/** Undefined for a process that has just ended, or is not ours to look into. */
function rootOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/root`);
  } catch {
    return undefined;
  }
}

/** Undefined for a process that has just ended. Source: proc_pid_stat(5); the name in it may hold anything. */
function parentOf(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}
