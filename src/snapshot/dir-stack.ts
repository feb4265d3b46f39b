import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { errnoOf } from "../errors.js";
import { fsPath } from "../fs/index.js";
import type { BytePath } from "../fs/index.js";

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
/** So many levels are kept open at the top and at the bottom of the stack; those between are closed and walked to again. */
const WINDOW = 128;

/** The directories from a root down to the one in use, each held by a descriptor. */
export interface DirStack extends Disposable {
  /** The descriptor of a directory, valid until the next call. Missing ones are made (0700). A link on the way is ENOTDIR. */
  enter(path: BytePath): number;
  /** What to give to a system call for a name in a directory of the stack. Holds for the last directory entered. */
  at(path: BytePath, name: string): string;
}

/**
 * Walks a tree by descriptors: each component is opened by its own name in the directory above it, and never through a
 * link, so nothing that happens to the tree meanwhile leads out of it, and no path gets too long.
 */
export function openDirStack(root: string): DirStack {
  const rootFd = openSync(root, OPEN_DIR);
  const names: string[] = [];
  // fds[i] belongs to names[i]; -1 for a level that was closed to save descriptors.
  const fds: number[] = [];
  let last: BytePath | undefined;
  let lastFd = rootFd;

  function popTo(depth: number): void {
    while (names.length > depth) {
      names.pop();
      const fd = fds.pop() ?? -1;
      if (fd >= 0) closeSync(fd);
    }
    if (depth > 0 && fds[depth - 1] === -1) {
      const again = names.splice(WINDOW);
      fds.length = WINDOW;
      for (const name of again) push(name);
    }
  }

  function push(name: string): void {
    const parent = fds.at(-1) ?? rootFd;
    fds.push(openChild(parent, name));
    names.push(name);
    const stale = fds.length - 1 - WINDOW;
    const staleFd = fds[stale] ?? -1;
    if (stale < WINDOW || staleFd < 0) return;
    closeSync(staleFd);
    fds[stale] = -1;
  }

  function enter(path: BytePath): number {
    if (path === last) return lastFd;
    last = undefined;
    const parts = path === "" ? [] : path.split("/");
    let common = 0;
    while (common < names.length && common < parts.length && names[common] === parts[common]) common += 1;
    popTo(common);
    for (let i = common; i < parts.length; i += 1) push(parts[i] ?? "");
    last = path;
    lastFd = fds.at(-1) ?? rootFd;
    return lastFd;
  }

  return {
    enter,
    at: (path, name) => `/proc/self/fd/${enter(path)}/${name}`,
    [Symbol.dispose]() {
      last = undefined;
      for (const fd of fds) if (fd >= 0) closeSync(fd);
      closeSync(rootFd);
    },
  };
}

function openChild(parent: number, name: string): number {
  const path = fsPath(`/proc/self/fd/${parent}/${name}`);
  try {
    return openSync(path, OPEN_DIR);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
    mkdirSync(path, { mode: 0o700 });
    return openSync(path, OPEN_DIR);
  }
}
