import { CooperError } from "../errors.js";
import type { Digest } from "../image/index.js";
import type { BytePath } from "./byte-path.js";
import { joinPath, parentOf, ROOT, textOf } from "./byte-path.js";

export type EntryType = "file" | "dir" | "symlink" | "char" | "block" | "fifo" | "socket";

/** One file system object of a tree. */
export interface TreeEntry {
  readonly path: BytePath;
  readonly type: EntryType;
  /** Permission bits with setuid, setgid and sticky: 0o0000 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a regular file; 0 for everything else. */
  readonly size: number;
  /** Modification time, nanoseconds since 1970; may be negative. */
  readonly mtimeNs: bigint;
  /** Bytes of a symbolic link's target, as stored; only for type symlink. */
  readonly target?: string;
  /** Only for char and block. */
  readonly device?: { readonly major: number; readonly minor: number };
  /** Extended attributes that belong to the file (never overlayfs's own), by name; missing when there are none. */
  readonly xattrs?: ReadonlyMap<string, Buffer>;
  /** The same for all hard links of one file of one tree; missing when there is only one. */
  readonly linkId?: string;
}

/** Bytes of a regular file: `size` bytes at `offset` of `fd`. The caller closes it. */
export interface OpenFile {
  readonly fd: number;
  readonly offset: number;
  readonly size: number;
  close(): void;
}

/**
 * A read-only tree of files: a build context without what its ignore file hides, or the root file system of a stage.
 * No method follows a symbolic link, in any component: a path whose parent is a link does not exist (`resolvePath` follows).
 */
export interface FileTree {
  lstat(path: BytePath): TreeEntry | undefined;
  /** Names in a directory, sorted bytewise. */
  list(path: BytePath): readonly string[];
  /** Opens a regular file. Throws `context` when it is no longer what `entry` says. */
  open(entry: TreeEntry): OpenFile;
  /** Digest of a regular file's bytes. */
  digest(entry: TreeEntry): Digest;
}

const MAX_LINKS = 255;

/**
 * Follows symbolic links inside a tree, as if it were the root file system: absolute targets start at the tree's root,
 * ".." stops there. Components that do not exist are kept, so the result may name something yet to be made.
 * Throws `context` on a loop.
 */
export function resolvePath(
  tree: Pick<FileTree, "lstat">,
  path: BytePath,
  options: { readonly followLast: boolean },
): BytePath {
  let pending = path === "" ? [] : path.split("/").toReversed();
  let at = ROOT;
  let links = 0;
  while (pending.length > 0) {
    const name = pending.pop() ?? "";
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = parentOf(at);
      continue;
    }
    const next = joinPath(at, name);
    const entry = pending.length === 0 && !options.followLast ? undefined : tree.lstat(next);
    if (entry?.type !== "symlink") {
      at = next;
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw new CooperError("context", `too many symbolic links in "/${textOf(path)}"`);
    const target = entry.target ?? "";
    if (target.startsWith("/")) at = ROOT;
    pending = [...pending, ...target.split("/").toReversed()];
  }
  return at;
}

/** Whether paths may resolve to other places, or to none, once `entry` stands where `before` stood. */
export function movesOthers(entry: TreeEntry, before: TreeEntry | undefined): boolean {
  if (entry.type === "symlink" || before?.type === "symlink") return true;
  return before?.type === "dir" && entry.type !== "dir";
}

/** An entry and everything below it, parents before children, siblings sorted bytewise. Links are not followed. */
export function* walkTree(tree: Pick<FileTree, "lstat" | "list">, path: BytePath): Generator<TreeEntry> {
  const stack: BytePath[] = [path];
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    const entry = tree.lstat(at);
    if (!entry) continue;
    yield entry;
    if (entry.type !== "dir") continue;
    const names = tree.list(at);
    for (let i = names.length - 1; i >= 0; i -= 1) stack.push(joinPath(at, names[i] ?? ""));
  }
}
