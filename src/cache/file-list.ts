import { createHash } from "node:crypto";
import type { InputFile } from "./types.js";

/** What is kept of an input file to explain a change: marks are shortened digests, compared and never shown. */
export interface ListedInput {
  readonly path: string;
  readonly mark: string;
  /** "" when the builder did not tell the content apart. */
  readonly contentMark: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

const MAGIC = "COPFILE1";
const MARK_BYTES = 12;
const SUM_BYTES = 32;
/** mark, content mark, mode, uid, gid, bytes shared with the path before, further bytes. */
const FIXED_BYTES = MARK_BYTES * 2 + 2 + 4 + 4 + 4 + 4;

/** As it will be read back by `decodeFileList`. */
export function listedInput(file: InputFile): ListedInput {
  return {
    path: file.path,
    mark: markOf(file.digest),
    contentMark: file.content === undefined ? "" : markOf(file.content),
    mode: file.mode ?? 0,
    uid: file.uid ?? 0,
    gid: file.gid ?? 0,
  };
}

/** Files sorted by path, in about 50 bytes each: the magic, the sha256 of the rest, then rows whose paths drop what they share with the row before. */
export function encodeFileList(files: readonly InputFile[]): Buffer {
  const rows: Buffer[] = [];
  let before: Uint8Array = Buffer.alloc(0);
  for (const file of files) {
    const { path, mark, contentMark, mode, uid, gid } = listedInput(file);
    const bytes = Buffer.from(path);
    const shared = sharedLength(before, bytes);
    const row = Buffer.alloc(FIXED_BYTES + bytes.length - shared);
    row.write(mark, 0, "hex");
    row.write(contentMark, MARK_BYTES, "hex");
    let at = row.writeUInt16LE(mode & 0xffff, MARK_BYTES * 2);
    for (const number of [uid, gid, shared, bytes.length - shared]) at = row.writeUInt32LE(number, at);
    bytes.copy(row, at, shared);
    rows.push(row);
    before = bytes;
  }
  const body = Buffer.concat(rows);
  return Buffer.concat([Buffer.from(MAGIC), createHash("sha256").update(body).digest(), body]);
}

/** The files of a list; undefined when the bytes are not exactly what `encodeFileList` made. */
export function decodeFileList(bytes: Buffer): readonly ListedInput[] | undefined {
  const start = MAGIC.length + SUM_BYTES;
  const body = bytes.subarray(start);
  const sum = createHash("sha256").update(body).digest();
  if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC || !sum.equals(bytes.subarray(MAGIC.length, start)))
    return undefined;
  const files: ListedInput[] = [];
  let before = Buffer.alloc(0);
  for (let at = 0; at < body.length;) {
    const numbers = at + MARK_BYTES * 2 + 2;
    const shared = body.readUInt32LE(numbers + 8);
    const end = at + FIXED_BYTES + body.readUInt32LE(numbers + 12);
    before = Buffer.concat([before.subarray(0, shared), body.subarray(at + FIXED_BYTES, end)]);
    const contentMark = body.toString("hex", at + MARK_BYTES, at + MARK_BYTES * 2);
    files.push({
      path: before.toString(),
      mark: body.toString("hex", at, at + MARK_BYTES),
      contentMark: /^0*$/.test(contentMark) ? "" : contentMark,
      mode: body.readUInt16LE(numbers - 2),
      uid: body.readUInt32LE(numbers),
      gid: body.readUInt32LE(numbers + 4),
    });
    at = end;
  }
  return files;
}

function markOf(text: string): string {
  const hex = /(?:^|:)([0-9a-f]{64})$/.exec(text)?.[1] ?? createHash("sha256").update(text).digest("hex");
  return hex.slice(0, MARK_BYTES * 2);
}

function sharedLength(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}
