import type { Readable } from "node:stream";
import type { Descriptor } from "./descriptor.js";
import type { Digest } from "./digest.js";

/** Where blobs come from. */
export interface BlobSource {
  /** Bytes of a blob, verified against digest and size while they are read; fails with `corrupt` at the end, `not-found` at once. */
  read(descriptor: Descriptor): Readable;
  /** Whole blob in memory, verified; for manifests and configs (at most 4 MiB). */
  bytes(descriptor: Descriptor): Promise<Buffer>;
}

/** Where blobs go. */
export interface BlobSink {
  has(digest: Digest): boolean;
  /**
   * Stores the stream under its digest; nothing becomes visible unless digest and size match (`corrupt`).
   * Storing a blob twice is not an error; when somebody else stored it first, the stream is still read to its end.
   */
  write(descriptor: Descriptor, content: Readable, signal?: AbortSignal): Promise<void>;
}
