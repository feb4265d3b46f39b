import type { Readable } from "node:stream";
import type { BytePath, FileTree, LayerFacts, OpenFile, TreeEntry } from "../fs/index.js";
import type { Compression, Descriptor, DiffId } from "../image/index.js";

export interface LayerInfo extends LayerFacts {
  readonly diffId: DiffId;
}

/** One change that a layer makes to what is below it, in the order of its tar. */
export type Change =
  | {
      readonly kind: "add";
      readonly entry: TreeEntry;
      /** For regular files only; called once, closed by the reader. */ readonly content?: () =>
        OpenFile | Uint8Array;
    }
  | { readonly kind: "whiteout"; readonly path: BytePath }
  | { readonly kind: "opaque"; readonly path: BytePath };

/** A stack of layers ready to be an overlay mount. Pure description: the mount itself is made by runtime/. */
export interface OverlayRootfs extends AsyncDisposable {
  readonly kind: "overlay";
  /** Existing directories, topmost first; may hold one directory twice never, and be empty for `scratch`. */
  readonly lowerDirs: readonly string[];
  readonly upperDir: string;
  readonly workDir: string;
}

/** A file that was moved away and put back: its change time says that it changed, and it did not. */
export interface RestoredFile {
  /** Inode number and change time (ns since 1970), decimal. */
  readonly inode: string;
  readonly changed: string;
}

/** A stack of layers as one directory, to be changed where it lies. Its next commit finds what changed since `prepare`. */
export interface DirectoryRootfs extends AsyncDisposable {
  readonly kind: "directory";
  readonly dir: string;
  /** To be told before `commit`. */
  restored(files: readonly RestoredFile[]): void;
}

export type PreparedRootfs = OverlayRootfs | DirectoryRootfs;

/** Disposing it removes the directories that it keeps for later steps. */
export interface Snapshotter extends AsyncDisposable {
  /** The root file system of a stack (oldest first), read without a mount. The caller disposes it. */
  view(diffIds: readonly DiffId[]): Promise<FileTree & Disposable>;
  /**
   * Makes missing trees (several at once) and an empty upper directory that looks like the stack's root; or, where
   * nothing may be mounted, the whole stack as a directory: the one that an earlier step left, when its stack was the
   * beginning of this one, else a new one (about 100 us a file).
   */
  prepare(diffIds: readonly DiffId[], signal?: AbortSignal): Promise<PreparedRootfs>;
  /**
   * Reads the upper directory once, computes its DiffId, renames it to the layer's tree; or finds what changed in the
   * directory by its metadata alone (about 10 us a file) and writes it as a tar. `retime` gives every entry its
   * modification time (ns since 1970), from the one it has. Throws `no-space`, `io`.
   */
  commit(rootfs: PreparedRootfs, retime?: (mtimeNs: bigint) => bigint): Promise<LayerInfo>;
  /** Writes changes as a tar: one pass of read, hash, write. Entries must come sorted, parents first. */
  write(changes: Iterable<Change>, signal?: AbortSignal): Promise<LayerInfo>;
  /** The entries of an archive file (tar, plain or gzip/bzip2/xz/zstd), guarded (hazards L01-L22), content spooled to the staged file system. */
  readArchive(file: OpenFile, name: string, signal?: AbortSignal): AsyncIterable<Change>;
  /** True when the first bytes are those of an archive that ADD unpacks. */
  isArchive(file: OpenFile): boolean;
  /** Reads a stored blob to its end, checks that its uncompressed digest is `diffId` (`corrupt`), and registers the layer. */
  register(blob: Descriptor, diffId: DiffId, signal?: AbortSignal): Promise<LayerInfo>;
  /** The layer's tar, the same bytes every time. */
  tar(diffId: DiffId): Readable;
  /** A blob of the layer in this compression, made if there is none, remembered. */
  compressed(diffId: DiffId, compression: Compression, signal?: AbortSignal): Promise<Descriptor>;
  info(diffId: DiffId): LayerInfo | undefined;
}
