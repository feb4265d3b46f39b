import type { BytePath, FileTree } from "../fs/index.js";

/** Reads a file's extended attributes (byte-string path, links not followed); runtime/ has it. */
export type XattrReader = (path: string) => ReadonlyMap<string, Buffer>;

export interface ContextOptions {
  /** Absolute path of the context directory. */
  readonly dir: string;
  /** Patterns of the ignore file, as written; [] when there is none. */
  readonly ignore: readonly string[];
  /** Where digests of unchanged files are remembered between builds; a directory of ours, made when missing. */
  readonly statCacheDir: string;
  /** Called only for files that the stat cache does not know. */
  readonly xattrs: XattrReader;
  readonly now: () => number;
}

/** The files a build may see. Ignored ones do not exist in it, except directories that hold something re-included. */
export interface BuildContext extends FileTree, Disposable {
  readonly dir: string;
  /** True when the path exists in the directory but the ignore file hides it: for a better message. `path` is text, relative to the context. */
  isIgnored(path: string): boolean;
  /** Sockets that were met and left out: they are made by a listening process and mean nothing in an image. For a warning each. */
  readonly sockets?: ReadonlySet<BytePath>;
  /** Writes the stat cache if anything was learned. Called once, at the end; failures are the caller's to ignore. */
  saveStatCache(): void;
}

/** The ignore file in force: `.containerignore`, else `.dockerignore`, of the context's root. */
export interface IgnoreFile {
  readonly path: string;
  readonly patterns: readonly string[];
}
