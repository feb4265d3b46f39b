import type { DiffId } from "../image/index.js";

/** One named input of a step. */
export interface KeyComponent {
  /** What it is: `instruction`, `base`, `parent`, `platform`, or the builder's own (`arg:GIT_SHA`). */
  readonly name: string;
  readonly value: string;
  /**
   * What a change of it is called, as a subject (`ARG GIT_SHA`: "ARG GIT_SHA changed"), or as a whole sentence when it
   * has the word "changed" in it (`ARG GIT_SHA changed, and this step does not read it`).
   */
  readonly label?: string;
  /** Kept in records as a digest only: a secret, or bulky. */
  readonly opaque?: boolean;
}

/** One file that a step copies. Only `path` and `digest` are part of a key; the rest tells what changed. */
export interface InputFile {
  /** As users know it. */
  readonly path: string;
  /** Covers type, content, mode, owner, link target and attributes. */
  readonly digest: string;
  /** Digest of the bytes or the link target alone. */
  readonly content?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface CacheKey {
  /** 64 hex digits. */
  readonly key: string;
  readonly components: readonly KeyComponent[];
  /** Sorted by path. */
  readonly files?: readonly InputFile[];
  /** Names the list of files: 64 hex digits; there exactly when `files` is. */
  readonly filesDigest?: string;
}

/** What a step's result was, and everything it was made from. */
export interface CacheRecord {
  readonly imageId: string;
  /** Missing for a step that made no layer. */
  readonly diffId?: string;
  /** Which step of which file; records of one site are compared with each other. */
  readonly site: string;
  /** Opaque values are replaced by their digests. */
  readonly components: readonly KeyComponent[];
  /** Names the stored list of files. The list itself is read only to explain a miss. */
  readonly filesDigest?: string;
  /** ms since 1970. */
  readonly createdAt: number;
  /** When the step was built, RFC 3339; missing where the image says so itself. */
  readonly built?: string;
}

/** Results of steps by key. Every unreadable, cut off or altered file of it counts as not there. */
export interface LayerCache {
  /** One file open. */
  lookup(key: CacheKey): CacheRecord | undefined;
  /** Remembers a result; the site's newest record is then this one. Throws `no-space`, `io`. */
  record(
    key: CacheKey,
    site: string,
    result: { readonly imageId: string; readonly diffId?: DiffId | string; readonly built?: string },
  ): void;
  /** One line for people: what differs from the newest record of the site; undefined when it has none. Never throws for what is on disk. */
  explain(key: CacheKey, site: string): string | undefined;
  /** A remembered value of a pure function, e.g. the content digest of a stage's paths. */
  memo(name: string): string | undefined;
  /** Throws `no-space`, `io`. */
  setMemo(name: string, value: string): void;
}
