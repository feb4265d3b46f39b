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

/** What a copy remembers: first names of files that have several. */
type Links = Map<string, string>;

/**
 * Copies a file, link, device or whole directory with owners, modes, times and attributes; `to` must not exist. Paths are
 * byte strings. Never follows a link: directories on the way are held by descriptors. Sockets are left out.
 */
export function copyTree(from: string, to: string, links: Links = new Map()): void {
  const stats = lstatSync(fsPath(from), { bigint: true });
  const key = `${stats.dev}:${stats.ino}`;
  const first = stats.nlink > 1n && !stats.isDirectory() ? links.get(key) : undefined;
  if (first !== undefined) return linkSync(fsPath(first), fsPath(to));
  if (!make(from, to, stats, links)) return;
  if (stats.nlink > 1n && !stats.isDirectory()) links.set(key, to);
  copyAttributes(from, to, stats);
}

/** False for what cannot be copied. */
function make(from: string, to: string, stats: BigIntStats, links: Links): boolean {
  if (stats.isFile()) copyContent(openSync(fsPath(from), O_RDONLY | O_NOFOLLOW | O_NONBLOCK), to);
  else if (stats.isDirectory()) {
    mkdirSync(fsPath(to), { mode: 0o700 });
    copyChildren(from, to, links);
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

/** Copies what lies in a directory into another one. */
export function copyChildren(from: string, to: string, links: Links = new Map()): void {
  withDirectories(from, to, (source, target) => {
    for (const name of namesIn(source)) copyTree(`${source}/${name}`, `${target}/${name}`, links);
  });
}

/** Moves what lies in a directory into another, empty one; copies it where they are on different file systems. */
export function moveChildren(from: string, to: string): void {
  withDirectories(from, to, (source, target) => {
    for (const name of namesIn(source)) {
      try {
        renameSync(fsPath(`${source}/${name}`), fsPath(`${target}/${name}`));
      } catch (error) {
        if (errnoOf(error) !== "EXDEV") throw error;
        copyTree(`${source}/${name}`, `${target}/${name}`);
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
