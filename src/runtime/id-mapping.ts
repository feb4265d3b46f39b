import { AT_FDCWD, O_RDONLY, openAt, syscall } from "./syscalls.js";

/** A user namespace for a process, as its helper is told of it. */
export interface HelperIdMapping {
  /** Opens the namespace. */
  readonly namespace: string;
  /** What its root is on the machine. */
  readonly uid: number;
  readonly gid: number;
  /** How many ids it has. */
  readonly size: number;
}

/** The same once it is open. */
export interface IdMapping extends HelperIdMapping {
  readonly fd: number;
}

const CLONE_NEWNS = 0x00020000;
const CLONE_NEWUTS = 0x04000000;
const CLONE_NEWUSER = 0x10000000;

/**
 * Opens the namespace, and makes files from here on as its root, with all rights that this process has: an overlay over
 * mapped layers can only make what its maker's own ids can be stored for.
 */
export function takeIdMapping(map: HelperIdMapping | null): IdMapping | undefined {
  if (map === null) return undefined;
  // First, since opening what is another process's takes the ids of this one.
  const fd = openAt(AT_FDCWD, map.namespace, O_RDONLY);
  syscall("setfsgid", undefined, map.gid);
  syscall("setfsuid", undefined, map.uid);
  // A file system id that is not 0 costs the effective rights over files, not the permitted ones.
  const header = new Uint8Array(Uint32Array.from([0x20080522, 0]).buffer);
  const sets = new Uint32Array(6);
  const view = new Uint8Array(sets.buffer);
  syscall("capget", undefined, header, view);
  // Two halves of effective, permitted, inheritable.
  sets[0] = sets[1] ?? 0;
  sets[3] = sets[4] ?? 0;
  syscall("capset", undefined, header, view);
  return { ...map, fd };
}

/**
 * Leaves this process all rights over what belongs to the namespace, and none over anything else. Its mounts are its own
 * from here on, and what they hide cannot be uncovered, whatever right the process keeps.
 */
export function enterIdMapping({ fd, namespace }: IdMapping): void {
  syscall("setns", namespace, fd, CLONE_NEWUSER);
  syscall("unshare", undefined, CLONE_NEWNS + CLONE_NEWUTS);
}
