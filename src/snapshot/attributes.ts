import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  openSync,
  utimesSync,
} from "node:fs";
import { errnoOf } from "../errors.js";
import { fsPath } from "../fs/index.js";
import type { EntryType, TreeEntry, TreeSyscalls } from "../fs/index.js";
import type { Inode } from "./inode.js";
import { STAND_IN } from "./layer-names.js";

const NS = 1_000_000_000n;
/** Node passes times as doubles; whole seconds in this range arrive exactly. */
const MAX_PLAIN_SECONDS = 2n ** 33n;

/** How trees are made on this machine. */
export interface TreeFlavour {
  /** Loads the system calls; only called when Node's own do not do. */
  readonly syscalls: () => TreeSyscalls;
  /** Trees belong to a rootless store: overlayfs's attributes are `user.overlay.*`, and stand-ins are made. */
  readonly userNamespace: boolean;
}

/** overlayfs's mark of a directory that hides what is below it. Source: Linux Documentation/filesystems/overlayfs.rst. */
export function opaqueXattr(flavour: TreeFlavour): string {
  return flavour.userNamespace ? "user.overlay.opaque" : "trusted.overlay.opaque";
}

/** Makes a FIFO or device; in a user namespace, where devices are refused, an empty file stands in for one. Returns whether it does. */
export function makeNode(path: string, inode: Inode, flavour: TreeFlavour): boolean {
  const { type, device = { major: 0, minor: 0 } } = inode;
  if (type !== "char" && type !== "block" && type !== "fifo") throw new Error(`not a node: ${type}`);
  try {
    flavour.syscalls().makeNode(path, type, 0o600, device);
    return false;
  } catch (error) {
    if (!flavour.userNamespace || errnoOf(error) !== "EPERM" || type === "fifo") throw error;
  }
  closeSync(
    openSync(
      fsPath(path),
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    ),
  );
  return true;
}

/**
 * Gives a file its owner, mode, extended attributes and time, in the order in which they do not undo each other:
 * chown clears setuid bits and capabilities, and everything moves the change time but nothing the modification time.
 * `fd` may be left out for what cannot be opened. Links are not followed.
 */
export function applyAttributes(
  file: { readonly path: string; readonly fd?: number; readonly standsIn?: boolean },
  inode: Inode,
  flavour: TreeFlavour,
): void {
  const owned = applyOwner(file, inode, flavour);
  if (inode.type !== "symlink") {
    if (file.fd === undefined) chmodSync(fsPath(file.path), inode.mode);
    else fchmodSync(file.fd, inode.mode);
  }
  for (const [name, value] of inode.xattrs ?? []) setXattr(file.path, name, value, flavour);
  if ((!owned && inode.type !== "symlink") || file.standsIn === true) {
    flavour.syscalls().setXattr(file.path, STAND_IN, Buffer.from(standInOf(inode, file.standsIn === true)));
  }
  applyTime(file, inode.type, inode.mtimeNs, flavour);
}

/** False when the user namespace has no such owner. */
function applyOwner(
  file: { readonly path: string; readonly fd?: number },
  inode: Inode,
  flavour: TreeFlavour,
): boolean {
  const { uid, gid, type } = inode;
  try {
    if (type === "symlink") lchownSync(fsPath(file.path), uid, gid);
    else if (file.fd === undefined) chownSync(fsPath(file.path), uid, gid);
    else fchownSync(file.fd, uid, gid);
    return true;
  } catch (error) {
    if (flavour.userNamespace && errnoOf(error) === "EINVAL") return false;
    throw error;
  }
}

function setXattr(path: string, name: string, value: Buffer, flavour: TreeFlavour): void {
  try {
    flavour.syscalls().setXattr(path, name, value);
  } catch (error) {
    const errno = errnoOf(error);
    // Capabilities change what a program may do: not having them must be noticed. Others the file system may refuse.
    if (
      name === "security.capability" ||
      (errno !== "ENOTSUP" && errno !== "EOPNOTSUPP" && errno !== "EPERM")
    )
      throw error;
  }
}

function applyTime(
  file: { readonly path: string; readonly fd?: number },
  type: EntryType,
  mtimeNs: bigint,
  flavour: TreeFlavour,
): void {
  const seconds = mtimeNs / NS;
  if (mtimeNs < 0n || mtimeNs % NS !== 0n || seconds > MAX_PLAIN_SECONDS) {
    flavour.syscalls().setTime(file.path, mtimeNs);
    return;
  }
  if (file.fd !== undefined) futimesSync(file.fd, Number(seconds), Number(seconds));
  else if (type === "symlink") lutimesSync(fsPath(file.path), Number(seconds), Number(seconds));
  else utimesSync(fsPath(file.path), Number(seconds), Number(seconds));
}

function standInOf(inode: Inode, forNode: boolean): string {
  const owner = `${inode.uid}:${inode.gid}`;
  return forNode && inode.device
    ? `${owner}:${inode.type}:${inode.device.major}:${inode.device.minor}`
    : owner;
}

const STAND_IN_TEXT = /^(\d{1,10}):(\d{1,10})(?::(char|block):(\d{1,10}):(\d{1,10}))?$/;

/** An entry as it should be, where a stand-in was made because the user namespace could not hold it. */
export function withoutStandIn(entry: TreeEntry, xattrs: ReadonlyMap<string, Buffer>): TreeEntry {
  const [, uid, gid, type, major, minor] =
    STAND_IN_TEXT.exec(xattrs.get(STAND_IN)?.toString("latin1") ?? "") ?? [];
  if (uid === undefined || gid === undefined) return entry;
  // Whoever gave the file another owner since then meant it.
  const owner = entry.uid === 0 && entry.gid === 0 ? { uid: Number(uid), gid: Number(gid) } : {};
  if (type === undefined || entry.type !== "file" || entry.size !== 0) return { ...entry, ...owner };
  return {
    ...entry,
    ...owner,
    type: type as EntryType,
    device: { major: Number(major), minor: Number(minor) },
  };
}
