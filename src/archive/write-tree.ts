import {
  chmodSync,
  closeSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { resolve } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import type { FileTree, TreeEntry, TreeSyscalls } from "../fs/index.js";
import { fsPath, makeDirectories, ROOT, textOf, walkTree } from "../fs/index.js";

const BUFFER_SIZE = 64 * 1024;

/**
 * Writes a root file system as plain files below `dest`, on top of what is there: owners (when we are root), modes,
 * times, hard links, and the attributes that the file system there can hold. Devices and sockets are left out. Never
 * writes through a link: a link where a directory must be is an error.
 */
export function writeTree(tree: FileTree, dest: string, syscalls: TreeSyscalls, signal?: AbortSignal): void {
  const root = Buffer.from(resolve(dest)).toString("latin1");
  const writer: TreeWriter = { tree, syscalls, buffer: Buffer.allocUnsafe(BUFFER_SIZE), links: new Map() };
  const directories: TreeEntry[] = [];
  for (const entry of walkTree(tree, ROOT)) {
    signal?.throwIfAborted();
    const path = entry.path === "" ? root : `${root}/${entry.path}`;
    try {
      if (entry.type === "dir") directories.push(makeDirectory(entry, path));
      else writeLeaf(writer, entry, path);
    } catch (error) {
      throw ioError("write", textOf(path), error);
    }
  }
  for (const entry of directories.toReversed())
    finish(syscalls, entry, entry.path === "" ? root : `${root}/${entry.path}`);
}

interface TreeWriter {
  readonly tree: FileTree;
  readonly syscalls: TreeSyscalls;
  readonly buffer: Buffer;
  /** Where the first of several hard links was written, by link id. */
  readonly links: Map<string, string>;
}

function makeDirectory(entry: TreeEntry, path: string): TreeEntry {
  const there = lstatSync(fsPath(path), { throwIfNoEntry: false });
  if (!there && entry.path === "") makeDirectories(textOf(path), 0o755);
  else if (!there) mkdirSync(fsPath(path), 0o755);
  else if (!there.isDirectory())
    throw new CooperError("io", `cannot write ${textOf(path)}: it is there and is not a directory`);
  return entry;
}

function writeLeaf(writer: TreeWriter, entry: TreeEntry, path: string): void {
  if (entry.type !== "file" && entry.type !== "symlink" && entry.type !== "fifo") return;
  rmSync(fsPath(path), { force: true });
  const first = entry.linkId === undefined ? undefined : writer.links.get(entry.linkId);
  if (first !== undefined) {
    linkSync(fsPath(first), fsPath(path));
    return;
  }
  if (entry.linkId !== undefined) writer.links.set(entry.linkId, path);
  if (entry.type === "symlink") symlinkSync(fsPath(entry.target ?? ""), fsPath(path));
  else if (entry.type === "fifo") writer.syscalls.makeNode(path, "fifo", entry.mode, { major: 0, minor: 0 });
  else copyContent(writer, entry, path);
  finish(writer.syscalls, entry, path);
}

function copyContent({ tree, buffer }: TreeWriter, entry: TreeEntry, path: string): void {
  const source = tree.open(entry);
  const fd = openSync(fsPath(path), "wx", 0o600);
  try {
    for (let done = 0; done < source.size;) {
      const n = readSync(
        source.fd,
        buffer,
        0,
        Math.min(buffer.length, source.size - done),
        source.offset + done,
      );
      if (n === 0) throw new CooperError("corrupt", `${textOf(entry.path)} is shorter than it should be`);
      for (let w = 0; w < n;) w += writeSync(fd, buffer, w, n - w);
      done += n;
    }
  } finally {
    closeSync(fd);
    source.close();
  }
}

function finish(syscalls: TreeSyscalls, entry: TreeEntry, path: string): void {
  if (process.getuid?.() === 0) lchownSync(fsPath(path), entry.uid, entry.gid);
  if (entry.type !== "symlink") chmodSync(fsPath(path), entry.mode);
  // After the owner: changing that takes file capabilities away.
  for (const [name, value] of entry.xattrs ?? []) {
    try {
      syscalls.setXattr(path, name, value);
    } catch (error) {
      if (errnoOf(error) !== "EOPNOTSUPP" && errnoOf(error) !== "ENOTSUP") throw error;
    }
  }
  syscalls.setTime(path, entry.mtimeNs);
}
