import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
} from "node:fs";
import { readdirSync, readlinkSync, readSync, renameSync, rmSync, symlinkSync, writeSync } from "node:fs";
import type { BigIntStats } from "node:fs";
import { errnoOf } from "../errors.js";
import { fsPath } from "../fs/index.js";
import { close } from "./syscalls.js";
import { treeSyscalls } from "./tree-syscalls.js";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const CHUNK = 64 * 1024;

/** How often a name is tried that whoever owns the source changes meanwhile. */
const ATTEMPTS = 3;

/** A place in a copy. */
interface Place {
  /** The target as a whole, by a descriptor that is open until all is copied; those of directories on the way are not. */
  readonly top: string;
  /** From there, with a slash in front. */
  readonly path: string;
  /** First names of files that have several, as `path`. */
  readonly firsts: Map<string, string>;
}

/** A child that is gone by the time it is read was never there. */
function copyChild(source: string, target: string, name: string, at: Place): void {
  const [from, to] = [`${source}/${name}`, `${target}/${name}`];
  for (let attempt = 1; ; attempt += 1) {
    try {
      return copyTree(from, to, { ...at, path: `${at.path}/${name}` });
    } catch (error) {
      // It has gone, or is something else by now.
      if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(error) ?? "")) throw error;
      rmSync(fsPath(to), { recursive: true, force: true });
      if (lstatSync(fsPath(from), { throwIfNoEntry: false }) === undefined) return;
      if (attempt === ATTEMPTS) throw error;
    }
  }
}

/**
 * Copies a file, link, device or whole directory with owners, modes, times and attributes; `to` must not exist. Paths are
 * byte strings. Never follows a link: directories on the way are held by descriptors. Sockets are left out.
 */
function copyTree(from: string, to: string, at: Place): void {
  const stats = lstatSync(fsPath(from), { bigint: true });
  const key = `${stats.dev}:${stats.ino}`;
  const isShared = stats.nlink > 1n && !stats.isDirectory();
  if (isShared && isLinked(at, key, to)) return;
  if (!make(from, to, stats, at)) return;
  copyAttributes(from, to, stats);
  if (isShared) at.firsts.set(key, at.path);
}

/** False where the first name is gone again, too far down for a path, or has as many as it may. */
function isLinked({ top, firsts }: Place, key: string, to: string): boolean {
  const first = firsts.get(key);
  if (first === undefined) return false;
  try {
    linkSync(fsPath(`${top}${first}`), fsPath(to));
    return true;
  } catch (error) {
    if (!["ENOENT", "ENAMETOOLONG", "EMLINK"].includes(errnoOf(error) ?? "")) throw error;
    return false;
  }
}

/** False for what cannot be copied. */
function make(from: string, to: string, stats: BigIntStats, at: Place): boolean {
  if (stats.isFile()) copyContent(openSync(fsPath(from), O_RDONLY | O_NOFOLLOW | O_NONBLOCK), to);
  else if (stats.isDirectory()) {
    mkdirSync(fsPath(to), { mode: 0o700 });
    copyChildren(from, to, at);
  } else if (stats.isSymbolicLink())
    symlinkSync(readlinkSync(fsPath(from), { encoding: "buffer" }), fsPath(to));
  else if (stats.isFIFO()) treeSyscalls().makeNode(to, "fifo", 0o600, { major: 0, minor: 0 });
  else if (stats.isSocket()) return false;
  else {
    const device = { major: Number(stats.rdev >> 8n) & 0xfff, minor: Number(stats.rdev) & 0xff };
    treeSyscalls().makeNode(to, stats.isBlockDevice() ? "block" : "char", 0o600, device);
  }
  return true;
}

/** Closes `source`. */
export function copyContent(source: number, to: string): void {
  try {
    const target = openSync(fsPath(to), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      const buffer = Buffer.allocUnsafe(CHUNK);
      for (let length = readSync(source, buffer); length > 0; length = readSync(source, buffer))
        for (let at = 0; at < length;) at += writeSync(target, buffer, at, length - at);
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

/** Copies what lies in a directory into another one, as it is found: somebody else may be changing it. */
export function copyChildren(from: string, to: string, at?: Place): void {
  withDirectories(from, to, (source, target) => {
    const here = at ?? { top: target, path: "", firsts: new Map<string, string>() };
    for (const name of namesIn(source)) copyChild(source, target, name, here);
  });
}

/** Moves what lies in a directory into another one, but for names that are there; copies it where they are on different file systems. */
export function moveChildren(from: string, to: string): void {
  withDirectories(from, to, (source, target) => {
    const here = { top: target, path: "", firsts: new Map<string, string>() };
    const there = new Set(namesIn(target));
    for (const name of namesIn(source)) {
      if (there.has(name)) continue;
      try {
        renameSync(fsPath(`${source}/${name}`), fsPath(`${target}/${name}`));
      } catch (error) {
        if (errnoOf(error) !== "EXDEV") throw error;
        copyChild(source, target, name, here);
        rmSync(fsPath(`${source}/${name}`), { recursive: true, force: true });
      }
    }
  });
}

function withDirectories(from: string, to: string, work: (source: string, target: string) => void): void {
  const source = openSync(fsPath(from), O_RDONLY | O_DIRECTORY);
  try {
    const target = openSync(fsPath(to), O_RDONLY | O_DIRECTORY);
    try {
      work(`/proc/self/fd/${source}`, `/proc/self/fd/${target}`);
    } finally {
      close(target);
    }
  } finally {
    close(source);
  }
}

function namesIn(dir: string): readonly string[] {
  return readdirSync(dir, "latin1");
}

/** Owner, mode, attributes, time; in the order in which they do not undo each other. */
export function copyAttributes(from: string, to: string, stats: BigIntStats): void {
  const calls = treeSyscalls();
  lchownSync(fsPath(to), Number(stats.uid), Number(stats.gid));
  if (!stats.isSymbolicLink()) chmodSync(fsPath(to), Number(stats.mode) & 0o7777);
  for (const [name, value] of calls.xattrs(from)) {
    try {
      calls.setXattr(to, name, value);
    } catch (error) {
      // What another file system has may not be wanted here; capabilities change what a program may do.
      if (name === "security.capability") throw error;
    }
  }
  calls.setTime(to, stats.mtimeNs);
}
