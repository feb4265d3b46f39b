import type { LayerHome } from "../fs/index.js";
import type { CacheMountRequest, TakenCache } from "./cache-mounts.js";
import type {
  BlobSink,
  BlobSource,
  Descriptor,
  Digest,
  DiffId,
  FullReference,
  ImageConfig,
  ImageFormat,
} from "../image/index.js";

/** An image of the store. Its id is the digest of its config. */
export interface StoredImage {
  readonly id: Digest;
  readonly config: ImageConfig;
  readonly configDescriptor: Descriptor;
  /** Media types of its manifest: as the name says that it was found by, else as it was pulled or built last. */
  readonly format: ImageFormat;
  /** The manifest it was pulled or loaded with, kept byte for byte; missing for images built here. */
  readonly manifest?: Descriptor;
  /** Wall clock of when this store got it, ms since 1970. */
  readonly storedAt: number;
  /** True for a step's result that a build left behind; `images` shows it only with -a. */
  readonly intermediate: boolean;
}

export interface NewImage {
  /** The config's exact bytes; its digest is the image id. */
  readonly config: Uint8Array;
  /** Default: OCI's. Unless the image has a manifest, what it is registered with last is its format. */
  readonly configMediaType?: string;
  readonly manifest?: Descriptor;
  readonly intermediate: boolean;
}

/** What may be removed and what was. */
export interface Removed {
  readonly untagged: readonly string[];
  readonly deleted: readonly Digest[];
}

export interface Store extends AsyncDisposable {
  readonly root: string;
  readonly blobs: BlobSource &
    BlobSink & { addBytes(mediaType: string, bytes: Uint8Array): Descriptor; path(digest: Digest): string };
  readonly layers: LayerHome;
  /** Registers an image whose layers are all registered (`not-found` otherwise), pointer last. Registering it twice is not an error; intermediate turns to false when either says so. */
  addImage(image: NewImage): StoredImage;
  image(id: Digest): StoredImage | undefined;
  /** All images, newest first; one that cannot be read is reported by `onCorrupt` and left out. */
  images(onCorrupt?: (id: Digest, reason: string) => void): readonly StoredImage[];
  /** Names in canonical text (`localhost/hello:latest`), sorted, with the image each points to. */
  names(): ReadonlyMap<string, Digest>;
  /** The name remembers the format, default that of the image: one image may have names in either. */
  tag(name: FullReference, image: Digest, format?: ImageFormat): void;
  untag(name: FullReference): boolean;
  /**
   * Finds an image by name (as typed; short names try `localhost/`, then any stored name that ends in it) or by an
   * unambiguous id prefix of at least 3 hex digits. Throws `not-found`, or `invalid-name` when it is ambiguous.
   */
  resolve(nameOrId: string): StoredImage;
  /**
   * Removes names, or an id with all its names when `force` or at most one; then images that nothing needs (their parents
   * that are intermediate and unnamed too), layers and blobs that no image has. Throws `in-use`, `not-found`.
   */
  remove(namesOrIds: readonly string[], options: { readonly force: boolean }): Promise<Removed>;
  /** Layers of an image record that are needed keep existing while a lease is held, whatever `remove` does. */
  lease(diffIds: readonly DiffId[]): AsyncDisposable;
  /** Takes a cache mount's directory, making it when there is none; waits for those that hold it alone. Throws `aborted`, `in-use`, `io`, `no-space`. */
  takeCache(request: CacheMountRequest, signal: AbortSignal): Promise<TakenCache>;
}
