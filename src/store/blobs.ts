import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { CooperError, hasCode, ioError } from "../errors.js";
import { atomicWrite, checker, stagedPath, verified, verifyBytes } from "../fs/index.js";
import type { Expected } from "../fs/index.js";
import { digestFromHex, digestOf, MAX_DOCUMENT_SIZE } from "../image/index.js";
import type { Descriptor, Digest } from "../image/index.js";
import type { StoreGround } from "./ground.js";
import { isFile, openRegular, readSmall, safeHex } from "./paths.js";
import type { Item } from "./session.js";
import type { Store } from "./types.js";

/** The blobs of a store, with what only the store itself may do. */
export interface Blobs {
  readonly api: Store["blobs"];
  /** A document's bytes (at most 4 MiB), verified. Throws `not-found`, `corrupt`. */
  readonly document: (descriptor: Expected) => Buffer;
  /** Stores a stream under the digest that it turns out to have. */
  readonly add: (mediaType: string, content: Readable, signal?: AbortSignal) => Promise<Descriptor>;
  /** True when there is a blob of this digest and size; holds it. */
  readonly hasWhole: (descriptor: Expected) => boolean;
  /** Waits until a blob is on disk. */
  readonly persist: (digest: Digest) => void;
}

/** What a damaged blob is renamed to, so that it can be stored again; the next removal deletes it. */
export const DAMAGED_SUFFIX = ".damaged";

const HINT = "remove the image that uses it with `cooper rmi`, then pull or build it again";
const fsyncAsync = promisify(fsync);

/** The line that a session holds a blob with. */
export function blobItem(digest: Digest): Item {
  return `blob ${safeHex(digest)}`;
}

/** Blobs in `blobs/sha256`, each named for its digest and there whole or not at all. */
export function openBlobs(ground: StoreGround): Blobs {
  const { paths, session } = ground;
  const path = (digest: Digest): string => join(paths.blobs, safeHex(digest));

  /** Writes a stream to a temporary on the way to its place; `check` sees every chunk. */
  async function spool(
    content: Readable,
    check: (chunk: Uint8Array) => void,
    finish: () => Digest,
  ): Promise<void> {
    ground.tidy();
    session.owner.announce();
    const temp = stagedPath(paths.tmp, session.owner);
    try {
      await writeStream(temp, content, check);
      place(temp, finish());
    } catch (error) {
      rmSync(temp, { force: true });
      throw error;
    }
  }

  function place(temp: string, digest: Digest): void {
    session.hold([blobItem(digest)], true);
    rename(temp, path(digest));
  }

  function hasWhole({ digest, size }: Expected): boolean {
    if (!isFile(path(digest))) return false;
    session.hold([blobItem(digest)], true);
    return isWhole(path(digest), size);
  }

  function document(descriptor: Expected): Buffer {
    const what = describe(descriptor.digest);
    if (descriptor.size > MAX_DOCUMENT_SIZE)
      throw new CooperError("corrupt", `${what} is larger than 4 MiB`, { hint: HINT });
    const bytes = readSmall(path(descriptor.digest), what);
    if (!bytes) throw notFound(descriptor.digest);
    try {
      verifyBytes(bytes, descriptor, what, HINT);
    } catch (error) {
      setAsideDamaged(path(descriptor.digest), descriptor.digest);
      throw error;
    }
    return bytes;
  }

  function read(descriptor: Descriptor): Readable {
    const what = describe(descriptor.digest);
    const file = openRegular(path(descriptor.digest), what);
    if (!file) throw notFound(descriptor.digest);
    // `end` is the last byte that is read: one more than was promised.
    const source = createReadStream("", { fd: file.fd, start: 0, end: descriptor.size });
    const out = verified(source, descriptor, what, HINT);
    out.once("error", (error) => {
      if (hasCode(error, "corrupt")) setAsideDamaged(path(descriptor.digest), descriptor.digest);
    });
    return out;
  }

  async function write(descriptor: Descriptor, content: Readable, signal?: AbortSignal): Promise<void> {
    const what = `blob ${safeHex(descriptor.digest) && descriptor.digest}`;
    const check = checker(descriptor, what);
    await abortable(content, signal, what, async () => {
      if (hasWhole(descriptor)) {
        for await (const chunk of content) check.update(chunk as Buffer);
        return check.end();
      }
      await spool(content, check.update, () => {
        check.end();
        return descriptor.digest;
      });
    });
  }

  async function add(mediaType: string, content: Readable, signal?: AbortSignal): Promise<Descriptor> {
    const hash = createHash("sha256");
    let size = 0;
    let digest: Digest | undefined;
    const count = (chunk: Uint8Array): void => {
      hash.update(chunk);
      size += chunk.byteLength;
    };
    await abortable(content, signal, "blob", () =>
      spool(content, count, () => (digest = digestFromHex<Digest>(hash.digest("hex")))),
    );
    if (digest === undefined) throw new Error("a blob without a digest");
    return { mediaType, digest, size };
  }

  function addBytes(mediaType: string, bytes: Uint8Array): Descriptor {
    const descriptor: Descriptor = { mediaType, digest: digestOf(bytes), size: bytes.byteLength };
    if (hasWhole(descriptor)) return descriptor;
    session.hold([blobItem(descriptor.digest)], true);
    const temp = stagedPath(paths.tmp, session.owner);
    atomicWrite(path(descriptor.digest), bytes, { temp, mode: 0o600 });
    return descriptor;
  }

  const api: Store["blobs"] = {
    read,
    bytes: (descriptor) => Promise.resolve().then(() => document(descriptor)),
    has: (digest) => {
      if (!isFile(path(digest))) return false;
      session.hold([blobItem(digest)], true);
      return isFile(path(digest));
    },
    write,
    addBytes,
    path,
  };
  return { api, document, add, hasWhole, persist: (digest) => persist(path(digest)) };
}

function describe(digest: Digest): string {
  return `blob ${digest} of the store`;
}

function notFound(digest: Digest): CooperError {
  return new CooperError("not-found", `${describe(digest)} is missing`, { hint: HINT });
}

function isWhole(path: string, size: number): boolean {
  const file = openRegular(path, path);
  if (!file) return false;
  closeSync(file.fd);
  return file.size === size;
}

function rename(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    throw ioError("write", to, error);
  }
}

function persist(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    throw ioError("write", path, error);
  } finally {
    closeSync(fd);
  }
}

/** Drains `content` into a new file and waits until that is on disk. Errors of `content` come out as they are. */
async function writeStream(
  path: string,
  content: Readable,
  check: (chunk: Uint8Array) => void,
): Promise<void> {
  const fd = doing(path, () => openSync(path, "wx", 0o600));
  try {
    for await (const chunk of content) {
      check(chunk as Buffer);
      doing(path, () => writeWhole(fd, chunk as Buffer));
    }
    await fsyncAsync(fd).catch((error: unknown) => {
      throw ioError("write", path, error);
    });
  } finally {
    closeSync(fd);
  }
}

function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.byteLength;) at += writeSync(fd, bytes, at);
}

function doing<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw ioError("write", path, error);
  }
}

/** Runs a transfer that `signal` ends by destroying its source. */
async function abortable(
  content: Readable,
  signal: AbortSignal | undefined,
  what: string,
  transfer: () => Promise<void>,
): Promise<void> {
  const stop = (): void => void content.destroy(new CooperError("aborted", `storing ${what} was aborted`));
  signal?.addEventListener("abort", stop, { once: true });
  try {
    if (signal?.aborted === true) stop();
    await transfer();
  } finally {
    signal?.removeEventListener("abort", stop);
    content.destroy();
  }
}

/** Renames a blob whose bytes are not those of its name, so that storing it again is not taken for done. */
function setAsideDamaged(path: string, digest: Digest): void {
  try {
    if (hashFile(path) !== digest) renameSync(path, path + DAMAGED_SUFFIX);
  } catch {
    // The damage has been reported; that it cannot be moved out of the way is nothing to add.
  }
}

/** Digest of a regular file's bytes; undefined when there is none. */
export function hashFile(path: string): Digest | undefined {
  const file = openRegular(path, path);
  if (!file) return undefined;
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(64 * 1024);
  try {
    for (let n = -1; n !== 0;) {
      n = readSync(file.fd, buffer);
      hash.update(buffer.subarray(0, n));
    }
  } finally {
    closeSync(file.fd);
  }
  return digestFromHex<Digest>(hash.digest("hex"));
}
