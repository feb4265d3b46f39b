import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, unlinkSync } from "node:fs";
import type { BigIntStats } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { fsPath, joinPath, parentOf, ROOT } from "../fs/index.js";
import type { BytePath, EntryType, OpenFile, TreeEntry } from "../fs/index.js";
import type { TreeFlavour } from "./attributes.js";
import { opaqueXattr, withoutStandIn } from "./attributes.js";
import type { DeepPaths } from "./deep-paths.js";
import { deepPaths } from "./deep-paths.js";
import { layerXattrs, shown } from "./layer-names.js";
import type { Change } from "./types.js";

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO } = constants;
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const NOTHING: ReadonlyMap<string, Buffer> = new Map();

/** What lies at a path of a layer's tree. */
export type TreeNode =
  | { readonly kind: "entry"; readonly entry: TreeEntry; readonly opaque: boolean }
  | { readonly kind: "whiteout" };

/** Whether an entry may have extended attributes; when not, nobody asks the kernel. */
export type MayHaveXattrs = (path: BytePath) => boolean;

/** Everything of a node but its extended attributes; undefined for a whiteout. */
export function entryOf(path: BytePath, stats: BigIntStats, fsName: string): TreeEntry | undefined {
  const type = typeOf(stats);
  const device = type === "char" || type === "block" ? deviceOf(stats.rdev) : undefined;
  if (type === "char" && device?.major === 0 && device.minor === 0) return undefined;
  return {
    path,
    type,
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    size: type === "file" ? Number(stats.size) : 0,
    mtimeNs: stats.mtimeNs,
    ...(type === "symlink" ? { target: readlinkSync(fsPath(fsName), { encoding: "latin1" }) } : {}),
    ...(device ? { device } : {}),
    ...(stats.nlink > 1n && type !== "dir" ? { linkId: `${stats.dev}:${stats.ino}` } : {}),
  };
}

function typeOf(stats: BigIntStats): EntryType {
  switch (Number(stats.mode) & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "dir";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "char";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    default:
      return "socket";
  }
}

/** Source: Linux kdev_t.h and glibc's gnu_dev_major/minor, the encoding of st_rdev. */
function deviceOf(rdev: bigint): { readonly major: number; readonly minor: number } {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return { major: Number(major), minor: Number(minor) };
}

/** Reads one node of a layer's tree. Undefined when there is none. */
export function readNode(
  paths: DeepPaths,
  path: BytePath,
  flavour: TreeFlavour,
  mayHaveXattrs: MayHaveXattrs,
): TreeNode | undefined {
  const fsName = paths.of(path);
  const stats = lstatOf(fsName);
  if (!stats) return undefined;
  const entry = entryOf(path, stats, fsName);
  if (!entry) return { kind: "whiteout" };
  const xattrs = mayHaveXattrs(path) ? flavour.syscalls().xattrs(fsName) : NOTHING;
  if (xattrs.size === 0) return { kind: "entry", entry, opaque: false };
  refuseRedirect(xattrs, path, flavour);
  const opaque = entry.type === "dir" && xattrs.get(opaqueXattr(flavour))?.toString("latin1") === "y";
  const real = flavour.userNamespace ? withoutStandIn(entry, xattrs) : entry;
  const kept = layerXattrs(xattrs);
  return { kind: "entry", entry: kept.size === 0 ? real : { ...real, xattrs: kept }, opaque };
}

/** Made only by a mount with redirect_dir or metacopy, which runtime/ turns off: such a tree says nothing by itself. */
function refuseRedirect(xattrs: ReadonlyMap<string, Buffer>, path: BytePath, flavour: TreeFlavour): void {
  const prefix = opaqueXattr(flavour).replace("opaque", "");
  if (!xattrs.has(`${prefix}redirect`) && !xattrs.has(`${prefix}metacopy`)) return;
  throw new Error(`${shown(path)} refers to a file of another layer`);
}

function lstatOf(fsName: string): BigIntStats | undefined {
  try {
    return lstatSync(fsPath(fsName), { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    // A name that is too long for the file system, or below something that is no directory, does not exist.
    if (["ENAMETOOLONG", "ENOTDIR"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}

export interface ScanOptions {
  readonly flavour: TreeFlavour;
  /** Directories to leave out as entries: the tar has none for them. */
  readonly implicit: (path: BytePath) => boolean;
  readonly mayHaveXattrs: MayHaveXattrs;
  /** Called for each socket: a tar has no type for them. */
  readonly onSocket?: (path: BytePath) => void;
}

/**
 * The changes that a layer's tree (or the upper directory of a mount that is gone) stands for: parents first, siblings
 * sorted bytewise, a whiteout where the hidden name would be, an opaque mark right after its directory. Sockets are
 * left out, overlayfs's own attributes too. Throws `io`.
 */
export function* scanTree(root: string, options: ScanOptions): Generator<Change, void> {
  using paths = deepPaths(root);
  const stack: BytePath[] = [ROOT];
  for (let path = stack.pop(); path !== undefined; path = stack.pop()) {
    const node = read(paths, path, options);
    if (node.kind === "whiteout") {
      yield { kind: "whiteout", path };
      continue;
    }
    const { entry } = node;
    if (entry.type === "socket") {
      options.onSocket?.(path);
      continue;
    }
    if (entry.type !== "dir") {
      yield entry.type === "file"
        ? { kind: "add", entry, content: () => openEntry(paths.of(entry.path), entry) }
        : { kind: "add", entry };
      continue;
    }
    if (!options.implicit(path)) yield { kind: "add", entry };
    if (node.opaque) yield { kind: "opaque", path };
    const names = readdirSync(fsPath(paths.of(path)), "latin1").toSorted();
    for (let i = names.length - 1; i >= 0; i -= 1) stack.push(joinPath(path, names[i] ?? ""));
  }
}

function read(paths: DeepPaths, path: BytePath, options: ScanOptions): TreeNode {
  try {
    const node = readNode(paths, path, options.flavour, options.mayHaveXattrs);
    if (node) return node;
  } catch (error) {
    throw ioError("read", shown(path), error);
  }
  throw new CooperError(
    "io",
    `${shown(path)} disappeared while its directory ${shown(parentOf(path))} was read`,
  );
}

/** Opens a regular file of a tree for reading. Throws `context` when it is no longer what `entry` says. */
export function openEntry(fsName: string, entry: TreeEntry): OpenFile {
  let fd: number;
  try {
    fd = openSync(fsPath(fsName), OPEN_FILE);
  } catch (error) {
    throw ioError("open", shown(entry.path), error);
  }
  return { fd, offset: 0, size: entry.size, close: () => closeSync(fd) };
}

/** Removes files of a tree without a trace: their directories keep their times. Throws `io`. */
export function removeQuietly(root: string, files: readonly BytePath[], flavour: TreeFlavour): void {
  using paths = deepPaths(root);
  for (const path of files) {
    const parent = parentOf(path);
    try {
      const { mtimeNs } = lstatSync(fsPath(paths.of(parent)), { bigint: true });
      unlinkSync(fsPath(paths.of(path)));
      flavour.syscalls().setTime(paths.of(parent), mtimeNs);
    } catch (error) {
      throw ioError("remove", shown(path), error);
    }
  }
}
