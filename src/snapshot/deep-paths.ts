import { closeSync, constants, openSync } from "node:fs";
import { fsPath } from "../fs/index.js";
import type { BytePath } from "../fs/index.js";

/** The kernel takes at most 4095 bytes; a name needs up to 256 more. */
const MAX_PREFIX = 3500;
/** Prefixes end near multiples of this, so that neighbours share them. */
const STEP = 2500;
const MAX_ANCHORS = 64;
const ANCHOR_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Paths of a tree as system calls take them, however deep: a long one starts at a descriptor of a directory on the way. */
export interface DeepPaths extends Disposable {
  /** Byte string (latin1); holds until 64 other long prefixes were asked for. The parents must be known to be directories. */
  of(path: BytePath): string;
}

/** For a tree that nobody changes and whose directories the caller has seen. */
export function deepPaths(root: string): DeepPaths {
  const anchors = new Map<string, number>();

  function anchor(prefix: string): number {
    const known = anchors.get(prefix);
    if (known !== undefined) return known;
    const fd = openSync(fsPath(from(prefix)), ANCHOR_FLAGS);
    anchors.set(prefix, fd);
    if (anchors.size > MAX_ANCHORS) {
      const [oldest = "", oldFd = -1] = anchors.entries().next().value ?? [];
      anchors.delete(oldest);
      closeSync(oldFd);
    }
    return fd;
  }

  function from(path: string): string {
    if (root.length + path.length <= MAX_PREFIX) return path === "" ? root : `${root}/${path}`;
    const slash = path.lastIndexOf("/", Math.floor(path.length / STEP) * STEP);
    if (slash <= 0) return `${root}/${path}`;
    return `/proc/self/fd/${anchor(path.slice(0, slash))}/${path.slice(slash + 1)}`;
  }

  return {
    of: from,
    [Symbol.dispose]() {
      for (const fd of anchors.values()) closeSync(fd);
      anchors.clear();
    },
  };
}
