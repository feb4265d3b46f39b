import type { BigIntStats } from "node:fs";
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync } from "node:fs";
import { createHash } from "node:crypto";
import { CooperError, errnoOf, ioError } from "../errors.js";
import type { OpenFile } from "../fs/index.js";
import { fsPath, textOf } from "../fs/index.js";
import type { Digest } from "../image/index.js";
import { digestFromHex } from "../image/index.js";
import type { FileStamp } from "./stat-cache.js";

/** A regular file as it was when it was listed. */
export interface ListedFile {
  /** Path in the context, for messages (bytes). */
  readonly path: string;
  /** Absolute path without symbolic links (bytes). */
  readonly realPath: string;
  readonly stamp: FileStamp;
}

/** Not blocking: a FIFO may have taken the file's place since it was listed. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const BUFFER_BYTES = 64 * 1024;

/**
 * Opens a file, only if it is still the listed one and still at its place: a directory above it that became a symbolic
 * link in between shows in the path the kernel opened. Throws `context` otherwise. `close` throws it too when the file
 * changed since, so what was read is then not what was listed.
 */
export function openListed(file: ListedFile): OpenFile {
  const fd = openAt(file);
  try {
    if (readlinkSync(`/proc/self/fd/${fd}`, "latin1") !== file.realPath) throw changed(file.path);
    assertSame(fd, file);
  } catch (error) {
    closeSync(fd);
    throw contextError("read", file.path, error);
  }
  let isOpen = true;
  return {
    fd,
    offset: 0,
    size: Number(file.stamp.size),
    close() {
      if (!isOpen) return;
      isOpen = false;
      try {
        assertSame(fd, file);
      } finally {
        closeSync(fd);
      }
    },
  };
}

let buffer: Buffer | undefined;

/** The digest of a listed file's bytes. Throws `context` when it changes meanwhile. */
export function hashListed(file: ListedFile): Digest {
  const chunk = (buffer ??= Buffer.allocUnsafeSlow(BUFFER_BYTES));
  const hash = createHash("sha256");
  const open = openListed(file);
  let length = 0;
  try {
    // Until the end, not until `size`: a file that grew must be noticed.
    for (let got = -1; got !== 0 && length <= open.size; length += got) {
      got = readSync(open.fd, chunk, 0, chunk.length, null);
      hash.update(chunk.subarray(0, got));
    }
  } catch (error) {
    closeSync(open.fd);
    throw contextError("read", file.path, error);
  }
  open.close();
  if (length !== open.size) throw changed(file.path);
  return digestFromHex<Digest>(hash.digest("hex"));
}

function openAt(file: ListedFile): number {
  try {
    return openSync(fsPath(file.realPath), FLAGS);
  } catch (error) {
    const isGone = ["ENOENT", "ENOTDIR", "ELOOP", "ENXIO"].includes(errnoOf(error) ?? "");
    throw isGone ? changed(file.path) : contextError("read", file.path, error);
  }
}

function assertSame(fd: number, file: ListedFile): void {
  const now = fstatSync(fd, { bigint: true });
  if (!now.isFile() || !isStampOf(file.stamp, now)) throw changed(file.path);
}

/** True when a status says that nothing changed since the stamp was taken. */
export function isStampOf(stamp: FileStamp, now: BigIntStats): boolean {
  return (
    now.ino === stamp.ino &&
    now.dev === stamp.dev &&
    now.size === stamp.size &&
    now.mtimeNs === stamp.mtimeNs &&
    now.ctimeNs === stamp.ctimeNs
  );
}

/** The error for a file that does not stand still. */
export function changed(path: string): CooperError {
  return new CooperError("context", `"${textOf(path)}" changed while it was read`, {
    hint: "something writes to the context during the build; exclude the file or wait until it is written",
  });
}

/** A failed system call on a path of the context as a `context` error; other errors pass. */
export function contextError(action: string, path: string, error: unknown): unknown {
  if (errnoOf(error) === undefined) return error;
  return new CooperError("context", ioError(action, `"${textOf(path) || "."}"`, error).message, {
    cause: error,
  });
}
