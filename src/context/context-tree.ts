import type { BigIntStats, Dirent } from "node:fs";
import { lstatSync, readdirSync, readlinkSync, realpathSync } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import type { BytePath, EntryType, OpenFile, TreeEntry } from "../fs/index.js";
import { bytesOf, cleanPath, fsPath, joinPath, parentOf, ROOT, textOf } from "../fs/index.js";
import type { Digest } from "../image/index.js";
import type { PatternIndex } from "./pattern-index.js";
import { NO_MATCH, patternIndex } from "./pattern-index.js";
import type { ListedFile } from "./read-file.js";
import { changed, contextError, hashListed, openListed } from "./read-file.js";
import type { FileStamp, KnownFile, StatCache } from "./stat-cache.js";
import { NO_STAT_CACHE, openStatCache } from "./stat-cache.js";
import type { BuildContext, ContextOptions, Explanation } from "./types.js";

/**
 * Opens a directory as a build context. Nothing is read before it is asked for, directory by directory; what was read
 * is not kept, so every `lstat` is fresh. Throws `context` when it is no directory or a pattern is malformed.
 */
export function openContext(options: ContextOptions): BuildContext {
  const root = realDirectory(options.dir);
  return new ContextTree(
    options,
    root,
    patternIndex(options.ignore),
    options.statCacheDir === undefined ? NO_STAT_CACHE : openStatCache(options.statCacheDir, root),
  );
}

function realDirectory(dir: string): string {
  try {
    const real = realpathSync.native(dir, "buffer").toString("latin1");
    if (lstatSync(fsPath(real)).isDirectory()) return real;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new CooperError("context", ioError("read the build context", dir, error).message, { cause: error });
  }
  throw new CooperError("context", `the build context ${dir} is not a directory`);
}

/** An entry with what ties it to the file that was looked at; survives a copy with another path or owner. */
interface ContextEntry extends TreeEntry {
  readonly origin: BytePath;
  readonly stamp: FileStamp;
  readonly known: KnownFile;
}

/** A real directory, reached through real directories only. */
interface KnownDirectory {
  readonly verdict: number;
}

const TYPES: Readonly<Record<number, EntryType>> = {
  0o100000: "file",
  0o040000: "dir",
  0o120000: "symlink",
  0o020000: "char",
  0o060000: "block",
  0o010000: "fifo",
  0o140000: "socket",
};

class ContextTree implements BuildContext {
  readonly dir: string;
  readonly sockets = new Set<BytePath>();
  readonly #options: ContextOptions;
  /** Absolute, without links, as bytes; "" for the root of the file system. */
  readonly #prefix: string;
  readonly #matcher: PatternIndex;
  readonly #cache: StatCache;
  readonly #directories = new Map<BytePath, KnownDirectory | undefined>();
  readonly #holdsVisible = new Map<BytePath, boolean>();

  constructor(options: ContextOptions, root: string, matcher: PatternIndex, cache: StatCache) {
    this.dir = options.dir;
    this.#options = options;
    this.#prefix = root === "/" ? "" : root;
    this.#matcher = matcher;
    this.#cache = cache;
    this.#directories.set(ROOT, { verdict: NO_MATCH });
  }

  lstat(path: BytePath): ContextEntry | undefined {
    const parent = this.#directory(parentOf(path));
    if (!parent) return undefined;
    const status = this.#status(path);
    if (!status) return undefined;
    const verdict = this.#matcher.verdict(path, parent.verdict);
    if (this.#matcher.hides(verdict) && !(status.isDirectory() && this.#isNeeded(path, verdict)))
      return undefined;
    if (status.isSocket()) {
      this.sockets.add(path);
      return undefined;
    }
    return this.#entry(path, status);
  }

  list(path: BytePath): readonly string[] {
    const directory = this.#directory(path);
    if (!directory) return [];
    return this.#children(path)
      .filter((child) => this.#isVisible(joinPath(path, child.name), child, directory.verdict))
      .map((child) => child.name)
      .toSorted();
  }

  open(entry: TreeEntry): OpenFile {
    return openListed(this.#listed(entry));
  }

  digest(entry: TreeEntry): Digest {
    const { known, stamp } = this.#identified(entry);
    const digest = known.digest ?? this.#cache.find(stamp)?.digest;
    if (digest) return digest;
    const readAt = this.#options.now();
    const fresh = hashListed(this.#listed(entry));
    this.#cache.learn(stamp, { ...known, digest: fresh }, readAt);
    return fresh;
  }

  isIgnored(path: string): boolean {
    const at = bytesOf(path) as BytePath;
    const isThere = this.#isRealPath(at) && this.#status(at) !== undefined;
    return isThere && !this.sockets.has(at) && this.lstat(at) === undefined && !this.sockets.has(at);
  }

  explain(path: string): Explanation {
    const at = cleanPath(path);
    const status = this.#isRealPath(at) ? this.#status(at) : undefined;
    if (!status) return { outcome: "missing" };
    const { verdict, at: matched } = this.#matcher.decide(at);
    const line = this.#options.ignore[verdict];
    const reason = {
      ...(typeof line === "object" ? { line } : {}),
      ...(matched === at ? {} : { matched }),
    };
    if (this.#matcher.hides(verdict)) return { outcome: this.lstat(at) ? "parent" : "hidden", ...reason };
    return { outcome: status.isSocket() ? "socket" : "visible", ...reason };
  }

  saveStatCache(): void {
    this.#cache.save();
  }

  [Symbol.dispose](): void {
    this.#directories.clear();
    this.#holdsVisible.clear();
  }

  #real(path: BytePath): string {
    return path === "" ? this.#prefix || "/" : `${this.#prefix}/${path}`;
  }

  /** Undefined for what is not a directory, or lies in a hidden one that cannot hold anything visible. */
  #directory(path: BytePath): KnownDirectory | undefined {
    const known = this.#directories.get(path);
    if (known || this.#directories.has(path)) return known;
    const parent = this.#directory(parentOf(path));
    const found = parent && this.#enterable(path, this.#matcher.verdict(path, parent.verdict));
    this.#directories.set(path, found);
    return found;
  }

  #enterable(path: BytePath, verdict: number): KnownDirectory | undefined {
    if (this.#matcher.hides(verdict) && !this.#matcher.mayHoldVisible(path, verdict)) return undefined;
    return this.#status(path)?.isDirectory() === true ? { verdict } : undefined;
  }

  /** True when a hidden directory holds something that is not hidden, at any depth. */
  #isNeeded(path: BytePath, verdict: number): boolean {
    const known = this.#holdsVisible.get(path);
    if (known !== undefined) return known;
    const needed =
      this.#matcher.mayHoldVisible(path, verdict) &&
      this.#children(path).some((child) => this.#isVisible(joinPath(path, child.name), child, verdict));
    this.#holdsVisible.set(path, needed);
    return needed;
  }

  #isVisible(path: BytePath, child: Child, parentVerdict: number): boolean {
    const verdict = this.#matcher.verdict(path, parentVerdict);
    if (this.#matcher.hides(verdict)) return child.type.isDirectory() && this.#isNeeded(path, verdict);
    if (child.type.isSocket()) this.sockets.add(path);
    return !child.type.isSocket();
  }

  /** Whatever a directory holds, hidden or not. */
  #children(path: BytePath): readonly Child[] {
    const real = this.#real(path);
    try {
      const entries = readdirSync(fsPath(real), { withFileTypes: true, encoding: "latin1" });
      return entries.map((type) => ({ name: type.name, type }));
    } catch (error) {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return this.#childrenByName(path);
      throw contextError("list", path, error);
    }
  }

  /** For file systems whose directories do not tell types: Node then looks at each name, but only finds UTF-8 ones. */
  #childrenByName(path: BytePath): readonly Child[] {
    try {
      return readdirSync(fsPath(this.#real(path)), "latin1").flatMap((name) => {
        const type = this.#status(joinPath(path, name));
        return type ? [{ name, type }] : [];
      });
    } catch (error) {
      const isGone = errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR";
      throw isGone ? changed(path) : contextError("list", path, error);
    }
  }

  /** Undefined when there is nothing, or could not be. */
  #status(path: BytePath): BigIntStats | undefined {
    if (path.includes("\0")) return undefined;
    try {
      return lstatSync(fsPath(this.#real(path)), { bigint: true, throwIfNoEntry: false });
    } catch (error) {
      const isTooLongName =
        errnoOf(error) === "ENAMETOOLONG" && path.split("/").some((name) => name.length > 255);
      if (isTooLongName) return undefined;
      throw contextError("read", path, error);
    }
  }

  /** True when every directory above a path is a real one, whatever the ignore file says. */
  #isRealPath(path: BytePath): boolean {
    for (let at = parentOf(path); at !== ""; at = parentOf(at)) {
      if (this.#status(at)?.isDirectory() !== true) return false;
    }
    return true;
  }

  #entry(path: BytePath, status: BigIntStats): ContextEntry {
    const { dev, ino, size, mtimeNs, ctimeNs } = status;
    const stamp = { dev, ino, size, mtimeNs, ctimeNs };
    const known = this.#cache.find(stamp) ?? this.#learnXattrs(path, stamp);
    const mode = Number(status.mode);
    const type = TYPES[mode & 0o170000];
    if (!type) throw new Error(`unknown file type 0o${mode.toString(8)}`);
    return {
      path,
      type,
      mode: mode & 0o7777,
      uid: Number(status.uid),
      gid: Number(status.gid),
      size: type === "file" ? Number(size) : 0,
      mtimeNs,
      ...(type === "symlink" ? { target: this.#target(path) } : undefined),
      ...(type === "char" || type === "block" ? { device: deviceOf(status.rdev) } : undefined),
      ...(known.xattrs.size > 0 ? { xattrs: known.xattrs } : undefined),
      ...(status.nlink > 1n && type !== "dir" ? { linkId: `${dev}:${ino}` } : undefined),
      origin: path,
      stamp,
      known,
    };
  }

  #learnXattrs(path: BytePath, stamp: FileStamp): KnownFile {
    const readAt = this.#options.now();
    try {
      const known = { xattrs: this.#options.xattrs(this.#real(path)) };
      this.#cache.learn(stamp, known, readAt);
      return known;
    } catch (error) {
      throw errnoOf(error) === "ENOENT"
        ? changed(path)
        : contextError("read the extended attributes of", path, error);
    }
  }

  #target(path: BytePath): string {
    try {
      return readlinkSync(fsPath(this.#real(path)), "latin1");
    } catch (error) {
      const isGone = errnoOf(error) === "ENOENT" || errnoOf(error) === "EINVAL";
      throw isGone ? changed(path) : contextError("read", path, error);
    }
  }

  #listed(entry: TreeEntry): ListedFile {
    if (entry.type !== "file") throw new Error(`not a regular file: ${textOf(entry.path)}`);
    const { origin, stamp } = this.#identified(entry);
    return { path: origin, realPath: this.#real(origin), stamp };
  }

  /** The entry itself when it (or what it was copied from) came from a context, else what stands at its path now. */
  #identified(entry: TreeEntry): Pick<ContextEntry, "origin" | "stamp" | "known"> {
    if ("origin" in entry && "stamp" in entry && "known" in entry) return entry as ContextEntry;
    const now = this.lstat(entry.path);
    if (!now || now.type !== entry.type || now.size !== entry.size || now.mtimeNs !== entry.mtimeNs)
      throw changed(entry.path);
    return now;
  }
}

interface Child {
  readonly name: string;
  readonly type: Pick<Dirent | BigIntStats, "isDirectory" | "isSocket">;
}

/** Splits a device number as glibc's `major` and `minor` do. */
function deviceOf(rdev: bigint): { readonly major: number; readonly minor: number } {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n);
  return { major: Number(major), minor: Number(minor) };
}
