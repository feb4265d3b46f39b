import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { monotonicMs } from "./clock.js";
import { isOwnerToken, ownerIsAlive, pidOf } from "./owner.js";
import type { Owner } from "./owner.js";

/** Something that one process at a time may hold. Disposing twice is not an error. */
export interface Lease extends Disposable {
  readonly path: string;
}

export interface LeaseOptions {
  readonly owner: Owner;
  /** Directory of the owners' sockets. */
  readonly socketDir: string;
  /** A directory on the same file system, for what is about to become the lease. */
  readonly tempDir: string;
  /** How long to wait for another holder that lives, ms. */
  readonly waitMs: number;
  /** What the lease is for, for the message ("the list of images"). */
  readonly what: string;
}

/**
 * Takes the lease at `path`, waiting for a living holder and taking over from a dead one. Meant to be held for moments:
 * the wait blocks the process. Throws `in-use` naming the holder when the time is over, `io`, `no-space`.
 *
 * A lease is a directory with one file, named for its holder. Taking it is a rename of such a directory, prepared
 * elsewhere, over `path`: the kernel allows that only where there is nothing or an empty directory. Release and
 * take-over unlink the holder's file by its name, so nobody can release a lease that has changed hands meanwhile.
 */
export function acquireLease(path: string, options: LeaseOptions): Lease {
  const steps = tryLease(path, options);
  for (;;) {
    const { value, done } = steps.next();
    if (done === true) return value;
    sleepSync(value);
  }
}

/** As `acquireLease`, for waits that may be long: the process stays responsive. Throws `aborted` too. */
export async function acquireLeaseAsync(
  path: string,
  options: LeaseOptions,
  signal?: AbortSignal,
): Promise<Lease> {
  const steps = tryLease(path, options);
  for (;;) {
    if (signal?.aborted === true)
      throw new CooperError("aborted", `aborted while waiting for ${options.what}`);
    const { value, done } = steps.next();
    if (done === true) return value;
    await new Promise((resolve) => setTimeout(resolve, value));
  }
}

/** The token of a lease's holder, dead or alive; undefined when nobody holds it. */
export function leaseHolder(path: string): string | undefined {
  return holders(path)[0];
}

/** Frees a lease whose holder is dead, or no owner at all. True when nobody holds it now. */
export function releaseDead(path: string, socketDir: string): boolean {
  for (const holder of holders(path)) {
    if (ownerIsAlive(holder, socketDir, join(path, holder))) return false;
    remove(path, holder);
  }
  return leaseHolder(path) === undefined;
}

/** Blocks for a time, ms, without using the processor. */
export function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Yields how long to sleep before the next try, ms; returns the lease. */
function* tryLease(path: string, options: LeaseOptions): Generator<number, Lease> {
  const started = monotonicMs();
  let pause = 1;
  for (;;) {
    if (take(path, options)) return { path, [Symbol.dispose]: () => remove(path, options.owner.token) };
    if (releaseDead(path, options.socketDir)) continue;
    if (monotonicMs() - started > options.waitMs) throw inUse(path, options);
    yield pause;
    pause = Math.min(pause * 2, 50);
  }
}

function take(path: string, { owner, tempDir }: LeaseOptions): boolean {
  const prepared = join(tempDir, `${owner.token}-lease`);
  try {
    mkdirSync(prepared, { mode: 0o700, recursive: true });
    writeFileSync(join(prepared, owner.token), "", { mode: 0o600 });
    renameSync(prepared, path);
    return true;
  } catch (error) {
    rmSync(prepared, { recursive: true, force: true });
    const errno = errnoOf(error);
    if (errno === "ENOTEMPTY" || errno === "EEXIST") return false;
    throw ioError("lock", path, error);
  }
}

function holders(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw ioError("read", path, error);
  }
}

function remove(path: string, token: string): void {
  try {
    unlinkSync(join(path, token));
    rmdirSync(path);
  } catch (error) {
    // Somebody was faster; for the directory also: somebody holds the lease already.
    if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes(errnoOf(error) ?? ""))
      throw ioError("unlock", path, error);
  }
}

function inUse(path: string, { what }: LeaseOptions): CooperError {
  const holder = leaseHolder(path);
  const who = holder !== undefined && isOwnerToken(holder) ? `process ${pidOf(holder)}` : "another process";
  return new CooperError("in-use", `${what} is held by ${who}`, {
    hint: "wait for it, or end it if it hangs (a stopped process still holds what it held)",
  });
}
