import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { hexOf, isDigest, MAX_DOCUMENT_SIZE } from "../image/index.js";
import type { Digest, DiffId } from "../image/index.js";

/** Where things lie under a store's root. */
export interface StorePaths {
  readonly root: string;
  readonly format: string;
  readonly blobs: string;
  readonly layers: string;
  readonly images: string;
  readonly refs: string;
  readonly cache: string;
  readonly tmp: string;
  readonly locks: string;
}

export function storePaths(root: string): StorePaths {
  return {
    root,
    format: join(root, "format.json"),
    blobs: join(root, "blobs/sha256"),
    layers: join(root, "layers"),
    images: join(root, "images"),
    refs: join(root, "refs"),
    cache: join(root, "cache"),
    tmp: join(root, "tmp"),
    locks: join(root, "locks"),
  };
}

/** The hex digits of a digest, checked again: a path is about to be made of them. Throws `invalid-name`. */
export function safeHex(digest: Digest | DiffId): string {
  if (!isDigest(digest))
    throw new CooperError("invalid-name", `not a sha256 digest: ${JSON.stringify(digest)?.slice(0, 100)}`);
  return hexOf(digest);
}

/** Where an image's record is. */
export function recordPath(paths: StorePaths, id: Digest): string {
  return join(paths.images, `${safeHex(id)}.json`);
}

/** True for a regular file, which a link to one is not. */
export function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Opens a regular file for reading; links, devices and pipes count as damage. Undefined when there is none. Throws `corrupt`, `io`. */
export function openRegular(
  path: string,
  what: string,
): { readonly fd: number; readonly size: number } | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    if (errnoOf(error) === "ELOOP" || errnoOf(error) === "ENXIO")
      throw new CooperError("corrupt", `${what} is not a regular file: ${path}`);
    throw ioError("read", path, error);
  }
  const stat = fstatSync(fd);
  if (stat.isFile()) return { fd, size: stat.size };
  closeSync(fd);
  throw new CooperError("corrupt", `${what} is not a regular file: ${path}`);
}

/** Content of a small file of the store; undefined when there is none. Throws `corrupt` (also above 4 MiB), `io`. */
export function readSmall(path: string, what: string): Buffer | undefined {
  const file = openRegular(path, what);
  if (!file) return undefined;
  try {
    if (file.size > MAX_DOCUMENT_SIZE)
      throw new CooperError("corrupt", `${what} is larger than 4 MiB: ${path}`);
    const bytes = Buffer.allocUnsafe(file.size);
    let filled = 0;
    for (let n = -1; n !== 0 && filled < file.size; filled += n)
      n = readSync(file.fd, bytes, filled, file.size - filled, filled);
    return bytes.subarray(0, filled);
  } catch (error) {
    throw ioError("read", path, error);
  } finally {
    closeSync(file.fd);
  }
}
