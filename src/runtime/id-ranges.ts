import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { CooperError, ioError } from "../errors.js";
import { containerRanges, subordinateLines } from "./subordinate-ids.js";
import type { IdRange } from "./subordinate-ids.js";
import { errnoName, syscallError, trySyscall } from "./syscalls.js";

/** Ids of the machine that nobody else gets while this is not closed. */
export interface ClaimedIds extends Disposable {
  readonly uid: number;
  readonly gid: number;
}

/** Where all cooper processes of root on a machine see each other's claims. */
const CLAIMS_DIR = "/run/cooper";
const [F_OFD_GETLK, F_OFD_SETLK] = [36, 37];
const [F_WRLCK, F_UNLCK] = [1, 2];
const [EAGAIN, EACCES] = [-11, -13];

/**
 * Claims `size` user ids and as many group ids in a row, of those that /etc/subuid and /etc/subgid set aside for containers
 * of root. A claim is a lock on so many bytes of a file, so it ends with its process however that ends. Throws
 * `unsupported` where too few are set aside, `sandbox` where all are in use.
 */
export function claimIds(size: number, dir = CLAIMS_DIR): ClaimedIds {
  const uids = claim("uid", size, dir);
  try {
    const gids = claim("gid", size, dir);
    return {
      uid: uids.first,
      gid: gids.first,
      [Symbol.dispose]: () => {
        closeSync(uids.fd);
        closeSync(gids.fd);
      },
    };
  } catch (error) {
    closeSync(uids.fd);
    throw error;
  }
}

/** Throws `unsupported` where so many ids in a row are not set aside. */
function rangesFor(kind: "uid" | "gid", size: number): readonly IdRange[] {
  const ranges = containerRanges(subordinateLines(kind));
  const fit = ranges.filter(({ count }) => count >= size);
  if (fit.length > 0) return fit;
  const most = Math.max(0, ...ranges.map(({ count }) => count));
  throw new CooperError(
    "unsupported",
    `a user namespace of its own needs ${size} ids in a row above 65535 for the user "containers" in /etc/sub${kind}, and there are ${most}`,
    { hint: "add the line containers:2147483648:1073741824 to /etc/subuid and to /etc/subgid" },
  );
}

function claim(
  kind: "uid" | "gid",
  size: number,
  dir: string,
): { readonly first: number; readonly fd: number } {
  const ranges = rangesFor(kind, size);
  const fd = openClaims(join(dir, `${kind}s`));
  for (const { first, count } of ranges) {
    let at = first;
    while (at + size <= first + count) {
      if (lock(fd, at, size)) return { first: at, fd };
      at = endOfOther(fd, at, size) ?? at;
    }
  }
  closeSync(fd);
  throw new CooperError("sandbox", `all ids of "containers" in /etc/sub${kind} are in use by other builds`, {
    hint: "give that user more ids, or let builds have fewer: --userns=auto:size=4096",
  });
}

function openClaims(path: string): number {
  try {
    mkdirSync(join(path, ".."), { mode: 0o700, recursive: true });
    return openSync(path, "a+", 0o600);
  } catch (error) {
    throw ioError("claim ids in", path, error);
  }
}

function lock(fd: number, first: number, size: number): boolean {
  const result = trySyscall("fcntl", fd, F_OFD_SETLK, structFlock(F_WRLCK, first, size));
  if (result === 0) return true;
  if (result === EAGAIN || result === EACCES) return false;
  throw syscallError(errnoName(-result), "fcntl");
}

/** Where another's claim, which is in the way, ends; undefined when it has just gone. */
function endOfOther(fd: number, first: number, size: number): number | undefined {
  const request = structFlock(F_WRLCK, first, size);
  const result = trySyscall("fcntl", fd, F_OFD_GETLK, request);
  if (result < 0) throw syscallError(errnoName(-result), "fcntl");
  if (request.readInt16LE(0) === F_UNLCK) return undefined;
  return Number(request.readBigInt64LE(8) + request.readBigInt64LE(16));
}

/** Type, whence (0: from the start), start and length; of the system's own idea of a pid nothing is asked. */
function structFlock(type: number, start: number, length: number): Buffer {
  const request = Buffer.alloc(32);
  request.writeInt16LE(type, 0);
  request.writeBigInt64LE(BigInt(start), 8);
  request.writeBigInt64LE(BigInt(length), 16);
  return request;
}
