import { CooperError } from "../errors.js";
import { textOf } from "../fs/index.js";
import type { EntryType } from "../fs/index.js";

/** Size of a tar block in bytes. Source: POSIX.1-2017, pax "ustar Interchange Format". */
export const BLOCK = 512;

/** One member of a tar as its headers give it, names uninterpreted. */
export interface TarMember {
  /** Exact bytes (latin1), as stored: may be absolute, hold ".." or end with a slash. */
  readonly name: string;
  readonly type: EntryType | "link";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow; 0 for everything but regular files. */
  readonly size: number;
  readonly mtimeNs: bigint;
  /** Target bytes of a symbolic or hard link. */
  readonly linkName: string;
  readonly device?: { readonly major: number; readonly minor: number };
  readonly xattrs?: ReadonlyMap<string, Buffer>;
  /** Where the content begins, in bytes from the start of the tar. */
  readonly offset: number;
}

/** What one header block says, before extended headers are applied. */
export interface RawHeader {
  readonly name: string;
  readonly typeflag: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly linkName: string;
  readonly major: number;
  readonly minor: number;
}

/** The largest id that is one: 2^32-1 means "leave unchanged" to chown(2). */
export const MAX_ID = 2 ** 32 - 2;

/** Thrown by the codec for bytes that break the format; the caller knows the archive's name. */
export function tarError(what: string, reason: string): CooperError {
  return new CooperError("corrupt", `${what}: ${reason}`);
}

/** An entry's name for a message. */
export function quoted(name: string): string {
  const text = textOf(name);
  return JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}...` : text);
}

/** Sum of a header's bytes with its checksum field taken as blanks. */
export function checksumOf(block: Uint8Array): number {
  let sum = 8 * 32;
  for (let i = 0; i < 148; i += 1) sum += block[i] ?? 0;
  for (let i = 156; i < BLOCK; i += 1) sum += block[i] ?? 0;
  return sum;
}

function signedChecksumOf(block: Uint8Array): number {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i += 1) {
    if (i < 148 || i >= 156) sum += ((block[i] ?? 0) << 24) >> 24;
  }
  return sum;
}

/** True when a block is a tar header with a right checksum (some old writers summed signed bytes). */
export function isHeader(block: Buffer): boolean {
  if (block.length < BLOCK) return false;
  const found = octal(block, 148, 8);
  return found !== undefined && (found === checksumOf(block) || found === signedChecksumOf(block));
}

export function isZeroBlock(block: Buffer): boolean {
  for (let i = 0; i < BLOCK; i += 1) if (block[i] !== 0) return false;
  return true;
}

/** Reads a header block whose checksum was found right. Throws `corrupt` for a field that is no number. */
export function readRawHeader(block: Buffer, what: string): RawHeader {
  const short = text(block, 0, 100);
  const magic = block.toString("latin1", 257, 265);
  const posix = magic.startsWith("ustar\0");
  // star's variant keeps two times in the last 25 bytes of the prefix and says so at the end of the block.
  const prefix = posix ? text(block, 345, block.toString("latin1", 508, 512) === "tar\0" ? 131 : 155) : "";
  const name = prefix === "" ? short : `${prefix}/${short}`;
  const field = (label: string, at: number, length: number): number => {
    const value = number(block, at, length);
    if (value === undefined) throw tarError(what, `entry ${quoted(name)} has a ${label} that is no number`);
    return value;
  };
  const hasDevice = posix || magic === "ustar  \0";
  return {
    name,
    typeflag: String.fromCharCode(block[156] ?? 0),
    mode: field("mode", 100, 8),
    uid: field("owner", 108, 8),
    gid: field("group", 116, 8),
    size: field("size", 124, 12),
    mtime: field("time", 136, 12),
    linkName: text(block, 157, 100),
    major: hasDevice ? field("device number", 329, 8) : 0,
    minor: hasDevice ? field("device number", 337, 8) : 0,
  };
}

function text(block: Buffer, at: number, length: number): string {
  let end = at;
  while (end < at + length && block[end] !== 0) end += 1;
  return block.toString("latin1", at, end);
}

/** A numeric field: octal text, or GNU's base-256 (top bit set, two's complement). Undefined when it is neither. */
function number(block: Buffer, at: number, length: number): number | undefined {
  const first = block[at] ?? 0;
  if (first < 0x80) return octal(block, at, length);
  const negative = (first & 0x40) !== 0;
  let value = negative ? (first & 0x7f) - 0x80 : first & 0x7f;
  for (let i = at + 1; i < at + length; i += 1) value = value * 256 + (block[i] ?? 0);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Octal digits with blanks or NULs around them; an empty field is 0. */
function octal(block: Buffer, at: number, length: number): number | undefined {
  let i = at;
  let end = at + length;
  while (i < end && (block[i] === 0x20 || block[i] === 0)) i += 1;
  while (end > i && (block[end - 1] === 0x20 || block[end - 1] === 0)) end -= 1;
  let value = 0;
  for (; i < end; i += 1) {
    const digit = (block[i] ?? 0) - 0x30;
    // Some writers leave rubbish after the terminator; it is not part of the number.
    if (block[i] === 0 || block[i] === 0x20) break;
    if (digit < 0 || digit > 7) return undefined;
    value = value * 8 + digit;
  }
  return value;
}
