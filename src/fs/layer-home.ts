import type { Readable } from "node:stream";
import type { Compression, Descriptor, DiffId } from "../image/index.js";
import type { BytePath } from "./byte-path.js";

/** Where layers live; the store implements it. Directories and files given to `adopt*` must come from `stage`. */
export interface LayerHome {
  /** Directory that holds `tree/`, `tar` and `layer.json` of a registered layer; undefined when it is not registered. */
  dir(diffId: DiffId): string | undefined;
  /** A compressed (or plain) blob whose content is this layer, when one is stored (in this compression, if one is asked for). */
  blob(diffId: DiffId, compression?: Compression): Descriptor | undefined;
  /** Opens that blob; verified while it is read. */
  readBlob(descriptor: Descriptor): Readable;
  /** Remembers that `descriptor`'s blob, already in the blob store, is this layer compressed; registers the layer if it is new, with `facts` when they are known. */
  rememberBlob(diffId: DiffId, descriptor: Descriptor, facts?: LayerFacts): void;
  /** A fresh private directory on the store's file system; removed on dispose, or by the next run if we die. */
  stage(): StagedDirectory;
  /** Moves `from` into place as this form of the layer, atomically; when the form is already there ours is dropped. */
  adopt(diffId: DiffId, form: "tree" | "tar", from: string, facts: LayerFacts): void;
  /** Writes bytes into the blob store under the digest they turn out to have. */
  addBlob(mediaType: string, content: Readable, signal?: AbortSignal): Promise<Descriptor>;
}

export interface StagedDirectory extends AsyncDisposable {
  readonly path: string;
}

/**
 * What is remembered of a layer beside its content: `layer.json` holds these fields and `diffId`. A layer that was
 * registered by its blob alone, without facts, has only `diffId` there.
 */
export interface LayerFacts {
  /** Bytes of the tar. */
  readonly size: number;
  /** False when the tar has no entry at all: such a layer is never mounted. */
  readonly hasEntries: boolean;
  /**
   * Directories that the tar uses without an entry of their own. Their real mode, owner and times come from the
   * layers below, so a mount of a stack with this layer needs a `fixup` layer above it.
   */
  readonly implicitDirs?: readonly BytePath[];
  /** Directories that hide what lower layers have in them; undefined when nobody has looked. */
  readonly opaqueDirs?: readonly BytePath[];
  /** Entries with extended attributes; undefined when nobody has looked or they are many. */
  readonly xattrPaths?: readonly BytePath[];
}
