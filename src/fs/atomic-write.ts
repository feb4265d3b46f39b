import { randomBytes } from "node:crypto";
import { closeSync, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ioError } from "../errors.js";

/** What the names of `atomicWrite`'s temporaries begin with; a killed process leaves them for a sweep. */
export const ATOMIC_TEMP_PREFIX = ".cooper-tmp-";

export interface AtomicWriteOptions {
  /** Wait until file and name are on disk; without it a power loss may bring back the old content, never a mixture. Default false. */
  readonly durable?: boolean;
  /** Exact permission bits, whatever the umask. Default: 0o644 less the umask. */
  readonly mode?: number;
  /** Path of the temporary, on the same file system as `path`; must not exist. Default: a fresh name in `path`'s directory. */
  readonly temp?: string;
}

/**
 * Replaces a file: readers see the old bytes or the new ones, whole, and a failed write changes nothing.
 * A symbolic link at `path` is replaced, not followed; the directory must exist. Throws `no-space`, `io`.
 */
export function atomicWrite(
  path: string,
  bytes: Uint8Array | string,
  options: AtomicWriteOptions = {},
): void {
  const temp = options.temp ?? join(dirname(path), temporaryName());
  try {
    writeNew(temp, bytes, options);
    renameSync(temp, path);
  } catch (error) {
    rmSync(temp, { force: true });
    throw ioError("write", path, error);
  }
  if (options.durable === true) syncDirectory(dirname(path));
}

/** A name for a temporary that nobody else has and that can be told from the user's files. */
export function temporaryName(): string {
  return `${ATOMIC_TEMP_PREFIX}${process.pid}-${randomBytes(8).toString("hex")}`;
}

/** Makes the names in a directory survive a power loss. Throws `io`. */
export function syncDirectory(path: string): void {
  try {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw ioError("write", path, error);
  }
}

function writeNew(path: string, bytes: Uint8Array | string, options: AtomicWriteOptions): void {
  const fd = openSync(path, "wx", options.mode ?? 0o644);
  try {
    if (options.mode !== undefined) fchmodSync(fd, options.mode);
    writeFileSync(fd, bytes);
    if (options.durable === true) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
