import { createHash } from "node:crypto";
import { pipeline, Transform } from "node:stream";
import type { Readable } from "node:stream";
import { CooperError } from "../errors.js";
import { digestFromHex } from "../image/index.js";
import type { Descriptor, Digest } from "../image/index.js";

/** How bytes should turn out. `size` in bytes. */
export type Expected = Pick<Descriptor, "digest" | "size">;

/**
 * The same bytes, believed only at their end: the stream fails with `corrupt` when it ends with another digest or size,
 * and as soon as there is one byte too many (none of which is passed on). Destroying it destroys `source`, whose
 * errors it takes over. `what` names the bytes in messages, `hint` says what to do about them.
 */
export function verified(source: Readable, expected: Expected, what: string, hint?: string): Readable {
  const check = checker(expected, what, hint);
  const out = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        check.update(chunk);
        done(null, chunk);
      } catch (error) {
        done(error as Error);
      }
    },
    flush(done) {
      try {
        check.end();
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
  // The callback is what keeps an error from being unhandled; `out` has been destroyed with it already.
  pipeline(source, out, () => undefined);
  return out;
}

/** Checks bytes as they pass, for code that reads without streams. Both functions throw `corrupt`. */
export interface Checker {
  readonly update: (chunk: Uint8Array) => void;
  readonly end: () => void;
}

/** Makes the check that `verified` does. */
export function checker(expected: Expected, what: string, hint?: string): Checker {
  const fail = (how: string) =>
    new CooperError("corrupt", `${what} ${how}`, hint === undefined ? {} : { hint });
  const hash = createHash("sha256");
  let seen = 0;
  return {
    update(chunk) {
      seen += chunk.byteLength;
      if (seen > expected.size) throw fail(`is larger than ${expected.size} bytes`);
      hash.update(chunk);
    },
    end() {
      if (seen !== expected.size) throw fail(`has ${seen} of ${expected.size} bytes`);
      const found: Digest = digestFromHex(hash.digest("hex"));
      if (found !== expected.digest) throw fail(`has the digest ${found}`);
    },
  };
}

/** Throws `corrupt` unless bytes in memory have the digest and size that were promised. */
export function verifyBytes(bytes: Uint8Array, expected: Expected, what: string, hint?: string): void {
  const check = checker(expected, what, hint);
  check.update(bytes);
  check.end();
}
