// What a gzip file holds when other bytes follow its last member: Node's gunzip fails at them, others ignore them.
import { readSync } from "node:fs";
import * as zlib from "node:zlib";
import type { OpenFile } from "../fs/index.js";

/** A gzip header without extra fields, and the trailer. Source: RFC 1952 section 2.3. */
const HEADER = 10;
const TRAILER = 8;
const FLAG_EXTRA = 4;
/** A name and a comment, each ended by a NUL; then two bytes of checksum. */
const FLAGS_TEXT = [8, 16];
const FLAG_CHECKSUM = 2;
/** Headers are looked for in so many bytes, and members read in pieces of it. */
const PIECE = 64 * 1024;
/** Each member costs a decompressor: a file of very many small ones is not searched for its end. */
const MOST_MEMBERS = 1000;

/** The first uncompressed bytes of the first member, at most what `start` holds; undefined when it is damaged. */
export function firstMember(start: Buffer): Buffer | undefined {
  const header = headerLength(start);
  if (header === undefined) return undefined;
  try {
    const options = { finishFlush: zlib.constants.Z_SYNC_FLUSH };
    return zlib.inflateRawSync(start.subarray(header), options);
  } catch {
    return undefined;
  }
}

/**
 * Where the last member ends before bytes that are none, from the file's start; undefined where there are no such bytes,
 * where a member is damaged, and for more than 1000 members. Checksums are not checked.
 */
export async function endOfMembers(file: OpenFile): Promise<number | undefined> {
  let at = 0;
  for (let members = 0; members < MOST_MEMBERS && at < file.size; members += 1) {
    const header = headerLength(piece(file, at));
    if (header === undefined) return members === 0 ? undefined : at;
    const length = await deflatedLength(file, at + header);
    if (length === undefined) return undefined;
    at += header + length + TRAILER;
  }
  return undefined;
}

/** Undefined when no member begins here. */
function headerLength(start: Buffer): number | undefined {
  if (start.length < HEADER || start[0] !== 0x1f || start[1] !== 0x8b || start[2] !== 8) return undefined;
  const flags = start[3] ?? 0;
  let at = HEADER;
  if ((flags & FLAG_EXTRA) !== 0) at += 2 + (start[at] ?? 0) + 256 * (start[at + 1] ?? 0);
  for (const flag of FLAGS_TEXT) if ((flags & flag) !== 0) at = start.indexOf(0, at) + 1 || start.length;
  if ((flags & FLAG_CHECKSUM) !== 0) at += 2;
  return at < start.length ? at : undefined;
}

/** Bytes of the deflate stream at an offset; undefined when it is damaged or cut off. */
async function deflatedLength(file: OpenFile, from: number): Promise<number | undefined> {
  const raw = zlib.createInflateRaw();
  const ended = new Promise<number | undefined>((resolve) => {
    raw.on("end", () => resolve(raw.bytesWritten)).on("error", () => resolve(undefined));
  });
  raw.resume();
  for (let at = from; at < file.size && !raw.readableEnded && !raw.destroyed; at += PIECE) {
    await new Promise((resolve) => raw.write(piece(file, at), resolve));
  }
  raw.end();
  const length = await ended;
  raw.destroy();
  return length;
}

function piece(file: OpenFile, at: number): Buffer {
  const buffer = Buffer.alloc(Math.min(PIECE, file.size - at));
  return buffer.subarray(0, readSync(file.fd, buffer, 0, buffer.length, file.offset + at));
}
