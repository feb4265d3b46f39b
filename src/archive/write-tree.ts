import {
  chmodSync,
  closeSync,
  lchownSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { resolve } from "node:path";
import { CooperError, ioError } from "../errors.js";
import type { FileTree, TreeEntry } from "../fs/index.js";
import { fsPath, ROOT, textOf, walkTree } from "../fs/index.js";

const BUFFER_SIZE = 64 * 1024;

/**
 * Writes a root file system as plain files below `dest`, on top of what is there. Owners are kept when we are root.
 * Devices, fifos and sockets are left out. Never writes through a link: a link where a directory must be is an error.
 */
export function writeTree(tree: FileTree, dest: string, signal?: AbortSignal): void {
  const root = Buffer.from(resolve(dest)).toString("latin1");
  const buffer = Buffer.allocUnsafe(BUFFER_SIZE);
  const directories: TreeEntry[] = [];
  for (const entry of walkTree(tree, ROOT)) {
    signal?.throwIfAborted();
    const path = entry.path === "" ? root : `${root}/${entry.path}`;
    try {
      if (entry.type === "dir") directories.push(makeDirectory(entry, path));
      else writeLeaf(tree, entry, path, buffer);
    } catch (error) {
      throw ioError("write", textOf(path), error);
    }
  }
  for (const entry of directories.toReversed())
    finish(entry, entry.path === "" ? root : `${root}/${entry.path}`);
}

function makeDirectory(entry: TreeEntry, path: string): TreeEntry {
  const there = lstatSync(fsPath(path), { throwIfNoEntry: false });
  if (!there) mkdirSync(fsPath(path), { recursive: entry.path === "", mode: 0o755 });
  else if (!there.isDirectory())
    throw new CooperError("io", `cannot write ${textOf(path)}: it is there and is not a directory`);
  return entry;
}

function writeLeaf(tree: FileTree, entry: TreeEntry, path: string, buffer: Buffer): void {
  if (entry.type !== "file" && entry.type !== "symlink") return;
  rmSync(fsPath(path), { force: true });
  if (entry.type === "symlink") symlinkSync(fsPath(entry.target ?? ""), fsPath(path));
  else copyContent(tree, entry, path, buffer);
  finish(entry, path);
}

function copyContent(tree: FileTree, entry: TreeEntry, path: string, buffer: Buffer): void {
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

function finish(entry: TreeEntry, path: string): void {
  if (process.getuid?.() === 0) lchownSync(fsPath(path), entry.uid, entry.gid);
  if (entry.type !== "symlink") chmodSync(fsPath(path), entry.mode);
  const seconds = Number(entry.mtimeNs) / 1e9;
  lutimesSync(fsPath(path), seconds, seconds);
}
