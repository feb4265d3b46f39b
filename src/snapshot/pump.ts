import { createHash } from "node:crypto";
import { monotonicMs } from "../fs/index.js";
import { statfsSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { CooperError } from "../errors.js";
import { digestFromHex } from "../image/index.js";
import type { DiffId } from "../image/index.js";

/** How long synchronous work goes on before signals, timers and output get their turn. Milliseconds. */
const SLICE_MS = 20;
/** Bytes written between two looks at the free space. */
const LOOK_EVERY = 4 * 1024 * 1024;
/** A disk is never filled beyond this part of it or this many bytes, whichever is less. */
const RESERVED_PART = 0.05;
const RESERVED_BYTES = 512 * 1024 * 1024;

/** Hands each chunk to `take`, letting the event loop turn between them. Throws `aborted`. */
export async function pump(
  chunks: Iterable<Buffer> | AsyncIterable<Buffer>,
  take: (chunk: Buffer) => void,
  signal?: AbortSignal,
): Promise<void> {
  throwIfAborted(signal);
  let since = monotonicMs();
  for await (const chunk of chunks) {
    take(chunk);
    if (monotonicMs() - since < SLICE_MS) continue;
    await setImmediate();
    throwIfAborted(signal);
    since = monotonicMs();
  }
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CooperError("aborted", "interrupted", { cause: signal.reason });
}

/** Tells of bytes about to be written to a file system; throws `no-space` before the last of it is used up. */
export type SpaceGuard = (bytes: number) => void;

/** Guards the disk that `dir` is on. `what` is being written, for the message. */
export function spaceGuard(dir: string, what: string): SpaceGuard {
  let unseen = LOOK_EVERY;
  return (bytes) => {
    unseen += bytes;
    if (unseen < LOOK_EVERY) return;
    unseen = 0;
    const { bavail, blocks, bsize } = statfsSync(dir);
    if (bavail * bsize >= Math.min(blocks * bsize * RESERVED_PART, RESERVED_BYTES)) return;
    throw new CooperError("no-space", `${what} exceeds the space that is left in the store`, {
      hint: "free some space, or choose another store with --root",
    });
  };
}

/** The DiffId of bytes as they pass. */
export interface DiffHash {
  update(chunk: Buffer): void;
  readonly size: number;
  result(): DiffId;
  /** Throws `corrupt` unless the bytes are those of `diffId`. */
  verify(diffId: DiffId, what: string): void;
}

export function diffHash(): DiffHash {
  const hash = createHash("sha256");
  let size = 0;
  const result = (): DiffId => digestFromHex<DiffId>(hash.digest("hex"));
  return {
    update(chunk) {
      hash.update(chunk);
      size += chunk.length;
    },
    get size() {
      return size;
    },
    result,
    verify(diffId, what) {
      const found = result();
      if (found !== diffId)
        throw new CooperError("corrupt", `${what}: the uncompressed content has the digest ${found}`);
    },
  };
}
