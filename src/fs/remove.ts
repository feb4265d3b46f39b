import { chmodSync, closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs";
import { readdirSync, readFileSync, realpathSync, rmdirSync, unlinkSync } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { monotonicMs } from "./clock.js";
import { bytesOf, fsPath, textOf } from "./byte-path.js";

// Not in fs.constants. Source: Linux uapi asm-generic/fcntl.h.
const O_PATH = 0o10000000;
const ANCHOR = O_PATH | constants.O_NOFOLLOW | constants.O_DIRECTORY;
/** How long removal runs before it lets the event loop turn, ms. */
const SLICE_MS = 10;
/** A directory that fills again while it is emptied is read this often. */
const MAX_PASSES = 3;

/**
 * Removes a file, link or whole tree; no error when there is none. Never follows a link and never enters a mount: a tree
 * with a mount in it is refused whole (`in-use`). Depth costs no stack and no descriptors; names may be any bytes,
 * modes may forbid everything. What cannot be removed is left, the rest goes; then throws `io` for the first of it.
 * Lets signals and timers run in between.
 */
export async function removeTree(path: string): Promise<void> {
  const steps = removal(path);
  let since = monotonicMs();
  while (steps.next().done !== true) {
    if (monotonicMs() - since < SLICE_MS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    since = monotonicMs();
  }
}

/** As `removeTree`, at one go: for what is known to be small. */
export function removeTreeSync(path: string): void {
  const steps = removal(path);
  while (steps.next().done !== true);
}

/** A directory on the way down. Only the last one is open: the way back is its "..", checked against what it should be. */
interface Level {
  /** Byte string; for the first level the whole path. */
  readonly name: string;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Subdirectories still to be removed, byte strings. */
  pending: string[];
  passes: number;
}

interface Descent {
  fd: number;
  readonly levels: Level[];
  readonly failures: Error[];
}

/** Yields after each directory entry or so. */
function* removal(path: string): Generator<void> {
  const name = bytesOf(path);
  if (!isDirectory(path)) return unlink(name, path);
  refuseMounts(path);
  const at: Descent = { fd: -1, levels: [], failures: [] };
  try {
    if (attempt(at, name, () => enter(at, name, name))) yield* empty(at);
    while (at.levels.length > 0) {
      const child = at.levels.at(-1)?.pending.pop();
      if (child === undefined) yield* leave(at);
      else if (attempt(at, child, () => enter(at, child, `/proc/self/fd/${at.fd}/${child}`)))
        yield* empty(at);
      yield;
    }
  } finally {
    if (at.fd >= 0) closeSync(at.fd);
  }
  if (at.failures[0]) throw at.failures[0];
}

/** Opens a directory as the place to be. Its parent is closed; nothing has changed when this throws. */
function enter(at: Descent, name: string, path: string): void {
  const fd = openSync(fsPath(path), ANCHOR);
  const { dev, ino, mode } = fstatSync(fd, { bigint: true });
  if ((mode & 0o700n) !== 0o700n) makeAccessible(fd);
  if (at.fd >= 0) closeSync(at.fd);
  at.fd = fd;
  at.levels.push({ name, dev, ino, pending: [], passes: 0 });
}

/** Only the owner may, and only the owner needs to. */
function makeAccessible(fd: number): void {
  try {
    chmodSync(`/proc/self/fd/${fd}`, 0o700);
  } catch {
    // What cannot be done for want of it will be reported with the name it failed on.
  }
}

/** Unlinks all that is no directory and notes the directories. */
function* empty(at: Descent): Generator<void> {
  const level = at.levels.at(-1);
  const base = `/proc/self/fd/${at.fd}`;
  attempt(at, undefined, () => {
    if (level) level.pending = readdirSync(base, "latin1");
  });
  const directories: string[] = [];
  for (const name of level?.pending ?? []) {
    attempt(at, name, () => {
      if (!unlinked(`${base}/${name}`)) directories.push(name);
    });
    yield;
  }
  if (level) level.pending = directories;
}

/** False when it is a directory. */
function unlinked(path: string): boolean {
  try {
    unlinkSync(fsPath(path));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "EISDIR") return false;
    // EPERM is what other file systems say of a directory. Source: unlink(2).
    if (errno === "EPERM" && lstatSync(fsPath(path)).isDirectory()) return false;
    if (errno !== "ENOENT") throw error;
  }
  return true;
}

/** Climbs back and removes the directory, or stays for another pass when it is not empty after all. */
function* leave(at: Descent): Generator<void> {
  const level = at.levels.at(-1);
  const parent = at.levels.at(-2);
  if (!level) return;
  const up = parent ? openSync(`/proc/self/fd/${at.fd}/..`, ANCHOR) : -1;
  if (parent && !isSame(up, parent)) {
    closeSync(up);
    throw new CooperError("io", `cannot remove ${place(at.levels)}: it was moved meanwhile`);
  }
  try {
    rmdirSync(fsPath(parent ? `/proc/self/fd/${up}/${level.name}` : level.name));
  } catch (error) {
    level.passes += 1;
    const full = errnoOf(error) === "ENOTEMPTY" || errnoOf(error) === "EEXIST";
    if (full && level.passes < MAX_PASSES && at.failures.length === 0) {
      if (up >= 0) closeSync(up);
      return yield* empty(at);
    }
    if (errnoOf(error) !== "ENOENT") at.failures.push(ioError("remove", place(at.levels), error));
  }
  closeSync(at.fd);
  at.fd = up;
  at.levels.pop();
}

function isSame(fd: number, level: Level): boolean {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return dev === level.dev && ino === level.ino;
}

/** Notes a failure that leaves the rest possible; what vanished by itself is none. */
function attempt(at: Descent, name: string | undefined, step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    const below = name === undefined ? [] : [{ name }];
    if (errnoOf(error) !== "ENOENT")
      at.failures.push(ioError("remove", place([...at.levels, ...below]), error));
    return false;
  }
}

function place(levels: readonly { readonly name: string }[]): string {
  return textOf(levels.map((level) => level.name).join("/"));
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw ioError("remove", path, error);
  }
}

function unlink(name: string, path: string): void {
  try {
    unlinkSync(fsPath(name));
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw ioError("remove", path, error);
  }
}

/** A mount somebody left below would lose its content too: a bind mount looks like any directory. */
function refuseMounts(path: string): void {
  const root = bytesOf(realpathSync(path));
  const points = readFileSync("/proc/self/mountinfo", "latin1").split("\n").map(mountPoint);
  const found = points.find((point) => point === root || point.startsWith(`${root}/`));
  if (found === undefined) return;
  throw new CooperError("in-use", `cannot remove ${path}: something is mounted on ${textOf(found)}`, {
    hint: `umount ${textOf(found)}`,
  });
}

/** The fifth field, its spaces and the like written as octal escapes. Source: proc_pid_mountinfo(5). */
function mountPoint(line: string): string {
  return (line.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(parseInt(octal, 8)),
  );
}
