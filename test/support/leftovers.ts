import { readdirSync, readFileSync } from "node:fs";
import { syscall, trySyscall } from "../../src/runtime/syscalls.js";

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;

/**
 * Makes this process the one to which every descendant comes whose own parent has ended, however often it forks: then
 * `descendants` finds them all, whatever they are called and whatever environment and namespaces they have.
 */
export function adoptOrphans(): void {
  syscall("prctl", undefined, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/** Our descendants but `known` and those below them, as pid and arguments. Those that came to us and have ended are buried. */
export function descendants(known: ReadonlySet<number>): readonly string[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    const [parent, state] = Number.isInteger(pid) ? statOf(pid) : [];
    if (parent === undefined || known.has(pid)) continue;
    // One that Node started is buried by Node: then this does nothing, or Node has just been told.
    if (state === "Z" && parent === process.pid) trySyscall("wait4", pid, null, WNOHANG, 0);
    else children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found: number[] = [];
  for (const pending = [process.pid]; pending.length > 0;) {
    const below = children.get(pending.pop() ?? 0) ?? [];
    found.push(...below);
    pending.push(...below);
  }
  return found.map((pid) => `process ${pid} ${textOf(`/proc/${pid}/cmdline`)}`.trim());
}

/** Pids of our children. */
export function ownChildren(): ReadonlySet<number> {
  const own = readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && statOf(pid)[0] === process.pid);
  return new Set(own);
}

/**
 * Mounts of this mount namespace whose line holds this text. Those of other namespaces go with their last process; a
 * namespace may also be kept by a mount of it here, of type nsfs.
 */
export function mountsWith(text: string): readonly string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(text))
    .map((line) => `mount ${line}`);
}

/** All mounts but those of other tests, which come and go below directories of their own; `dir` is the caller's. */
export function mountsOfNoOther(dir: string): readonly string[] {
  return mountsWith("").filter((line) => line.includes(dir) || !line.includes("/cooper-"));
}

/** Directories below /sys/fs/cgroup whose name begins with this. */
export function cgroupsNamed(prefix: string): readonly string[] {
  const below = (dir: string): readonly string[] =>
    directoriesIn(dir).flatMap((name) => [
      ...(name.startsWith(prefix) ? [`cgroup ${dir}/${name}`] : []),
      ...below(`${dir}/${name}`),
    ]);
  return below("/sys/fs/cgroup");
}

function directoriesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return []; // It has been removed meanwhile.
  }
}

/** Parent and state; neither for a process that has just ended. Source: proc_pid_stat(5); the name in it may hold anything. */
function statOf(pid: number): readonly [parent?: number, state?: string] {
  const text = textOf(`/proc/${pid}/stat`);
  const [state, parent] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return text === "" ? [] : [Number(parent), state ?? ""];
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1").replaceAll("\0", " ");
  } catch {
    return "";
  }
}
