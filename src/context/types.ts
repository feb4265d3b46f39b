import type { BytePath, FileTree } from "../fs/index.js";

/** Reads a file's extended attributes (byte-string path, links not followed); runtime/ has it. */
export type XattrReader = (path: string) => ReadonlyMap<string, Buffer>;

export interface ContextOptions {
  /** Absolute path of the context directory. */
  readonly dir: string;
  /** Patterns of the ignore file, or its lines, which give messages a place; [] when there is none. */
  readonly ignore: readonly (string | IgnoreLine)[];
  /** Where digests of unchanged files are remembered between builds; a directory of ours, made when missing. Default: nowhere. */
  readonly statCacheDir?: string;
  /** Called only for files that the stat cache does not know. */
  readonly xattrs: XattrReader;
  readonly now: () => number;
}

/**
 * What a build sees of a path. `visible`; `parent`: a hidden directory that exists for what it holds; `hidden`;
 * `missing`; `socket`, which no image can hold.
 */
export interface Explanation {
  readonly outcome: "visible" | "parent" | "hidden" | "missing" | "socket";
  /** The line that decided; missing when none did. */
  readonly line?: IgnoreLine;
  /** The directory above the path that the line matched (bytes), when it is not the path itself. */
  readonly matched?: BytePath;
}

/** The files a build may see. Ignored ones do not exist in it, except directories that hold something re-included. */
export interface BuildContext extends FileTree, Disposable {
  readonly dir: string;
  /** True when the path exists in the directory but the ignore file hides it: for a better message. `path` is text, relative to the context. */
  isIgnored(path: string): boolean;
  /** What the ignore file says of a path, as text relative to the context; links are not followed. */
  explain(path: string): Explanation;
  /** Sockets that were met and left out: they are made by a listening process and mean nothing in an image. For a warning each. */
  readonly sockets?: ReadonlySet<BytePath>;
  /** Writes the stat cache if anything was learned. Called once, at the end; failures are the caller's to ignore. */
  saveStatCache(): void;
}

/** One line of an ignore file that is neither blank nor a comment. */
export interface IgnoreLine {
  /** Cleaned, as it is matched. */
  readonly pattern: string;
  /** `.dockerignore:3`. */
  readonly where: string;
  /** As it was written, without the white space around it. */
  readonly text: string;
}

/** Where an ignore file may lie; absolute paths. */
export interface IgnoreFilePlaces {
  readonly contextDir: string;
  /** Missing when the Containerfile is in no file. */
  readonly containerfile?: string;
  /** The one that the user named. */
  readonly ignoreFile?: string;
}

/** The ignore file in force. */
export interface IgnoreFile {
  readonly path: string;
  /** What messages call it. */
  readonly name: string;
  readonly lines: readonly IgnoreLine[];
  /** Names of other ignore files that are there and are not read. */
  readonly passedOver: readonly string[];
}
