import { CooperError } from "../errors.js";
import type { EntryType } from "../fs/index.js";
import type { PaxRecords } from "./pax.js";
import { parsePax, parsePaxNumber, parsePaxTime } from "./pax.js";
import type { RawHeader, TarMember } from "./tar-header.js";
import { BLOCK, isHeader, isZeroBlock, MAX_ID, quoted, readRawHeader, tarError } from "./tar-header.js";

/** What a parser tells of a tar, in order: a member, its content in pieces, the end of its content. */
export interface TarVisitor {
  member(member: TarMember): void;
  /** A piece of the current member's content; valid only during the call. */
  content?(piece: Buffer): void;
  /** After the content of each member, also of those without any. */
  memberEnd?(): void;
}

/** A parser that is fed; nothing is buffered but one header block or one extended header. */
export interface TarParser {
  /** Takes the next bytes, which may end anywhere. Throws `corrupt` or `unsupported`, naming the entry. */
  push(bytes: Buffer): void;
  /** The next bytes of the current content that nobody wants: how many may be left out of `push` if `skipped` is told. */
  readonly skippable: number;
  /** Says that this many bytes (at most `skippable`) were left out. */
  skipped(bytes: number): void;
  /** After the last byte. Throws `corrupt` when the tar was cut off. */
  end(): void;
}

/** An extended header is held in memory, so its size must be bounded (hazard L13). Bytes. */
const MAX_META = 1024 * 1024;

const TYPES: Readonly<Record<string, EntryType | "link">> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "dir",
  "6": "fifo",
};
const META = new Set(["x", "g", "L", "K"]);
const SPARSE = "GNU.sparse.";
const XATTR = "SCHILY.xattr.";
const NO_RECORDS: PaxRecords = new Map();

/** `what` names the archive in errors: `layer sha256:...`, `archive "x.tar"`. */
export function createTarParser(visitor: TarVisitor, what: string): TarParser {
  const partial = Buffer.alloc(BLOCK);
  let held = 0;
  let position = 0;
  let state: "header" | "meta" | "content" | "ended" = "header";
  let zeroBlocks = 0;
  let remaining = 0;
  let padding = 0;
  let meta: { readonly typeflag: string; readonly body: Buffer; filled: number } | undefined;
  const pending = pendingMeta(what);

  function header(block: Buffer): void {
    position += BLOCK;
    if (isZeroBlock(block)) {
      zeroBlocks += 1;
      if (zeroBlocks === 2) state = "ended";
      return;
    }
    if (zeroBlocks > 0) throw tarError(what, `lone block of zeros before offset ${position - BLOCK}`);
    if (!isHeader(block)) {
      throw tarError(
        what,
        position === BLOCK ? "not a tar archive" : `bad header checksum at offset ${position - BLOCK}`,
      );
    }
    const raw = readRawHeader(block, what);
    if (META.has(raw.typeflag)) startMeta(raw);
    else startMember(pending.apply(raw, position));
  }

  function startMeta(raw: RawHeader): void {
    if (raw.size < 0 || raw.size > MAX_META) {
      throw tarError(what, `extended header of ${raw.size} bytes; at most ${MAX_META} are accepted`);
    }
    meta = { typeflag: raw.typeflag, body: Buffer.alloc(raw.size), filled: 0 };
    state = "meta";
    remaining = raw.size;
    padding = paddingOf(raw.size);
    if (remaining + padding === 0) endContent();
  }

  function startMember(member: TarMember): void {
    visitor.member(member);
    state = "content";
    remaining = member.size;
    padding = paddingOf(member.size);
    if (remaining + padding === 0) endContent();
  }

  function endContent(): void {
    if (state === "meta" && meta) pending.add(meta.typeflag, meta.body);
    else visitor.memberEnd?.();
    meta = undefined;
    state = "header";
  }

  /** Consumes content and padding; returns how far it came. */
  function consume(bytes: Buffer, from: number): number {
    let at = from;
    if (remaining > 0) {
      const length = Math.min(remaining, bytes.length - at);
      if (meta) meta.filled += bytes.copy(meta.body, meta.filled, at, at + length);
      else visitor.content?.(bytes.subarray(at, at + length));
      remaining -= length;
      at += length;
    }
    const skip = Math.min(padding, bytes.length - at);
    if (remaining === 0) {
      padding -= skip;
      at += skip;
    }
    position += at - from;
    if (remaining + padding === 0) endContent();
    return at;
  }

  /** Consumes (the rest of) one header block. */
  function takeHeader(bytes: Buffer, from: number): number {
    if (held === 0 && bytes.length - from >= BLOCK) {
      header(bytes.subarray(from, from + BLOCK));
      return from + BLOCK;
    }
    const length = Math.min(BLOCK - held, bytes.length - from);
    bytes.copy(partial, held, from, from + length);
    held += length;
    if (held === BLOCK) {
      held = 0;
      header(partial);
    }
    return from + length;
  }

  return {
    push(bytes) {
      let at = 0;
      while (at < bytes.length && state !== "ended")
        at = state === "header" ? takeHeader(bytes, at) : consume(bytes, at);
    },
    get skippable() {
      if (state === "ended") return Number.MAX_SAFE_INTEGER;
      return state === "content" && !visitor.content ? remaining : 0;
    },
    skipped(bytes) {
      if (state === "ended") return;
      remaining -= bytes;
      position += bytes;
      if (remaining + padding === 0) endContent();
    },
    end() {
      if (state === "ended") return;
      if (position === 0 && held > 0) throw tarError(what, "not a tar archive");
      if (state !== "header" || held > 0 || pending.waiting())
        throw tarError(what, "the tar ends in the middle of an entry");
    },
  };
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** Extended headers that wait for the member they belong to. */
function pendingMeta(what: string): {
  add(typeflag: string, body: Buffer): void;
  apply(raw: RawHeader, offset: number): TarMember;
  waiting(): boolean;
} {
  let globals = NO_RECORDS;
  let records: PaxRecords | undefined;
  let longName: string | undefined;
  let longLink: string | undefined;
  const once = (seen: unknown): void => {
    if (seen !== undefined) throw tarError(what, "two extended headers for one entry");
  };
  return {
    waiting: () => records !== undefined || longName !== undefined || longLink !== undefined,
    add(typeflag, body) {
      if (typeflag === "x") {
        once(records);
        records = parsePax(body, what);
      } else if (typeflag === "g") {
        globals = new Map([...globals, ...checkedGlobals(parsePax(body, what), what)]);
      } else if (typeflag === "L") {
        once(longName);
        longName = untilNul(body);
      } else {
        once(longLink);
        longLink = untilNul(body);
      }
    },
    apply(raw, offset) {
      const local = records ?? NO_RECORDS;
      if (
        (longName !== undefined && local.has("path")) ||
        (longLink !== undefined && local.has("linkpath"))
      ) {
        throw tarError(what, `entry ${quoted(raw.name)} has two different long names`);
      }
      const named: RawHeader = {
        ...raw,
        name: local.get("path") || longName || raw.name,
        linkName: local.get("linkpath") || longLink || raw.linkName,
      };
      const all = globals.size === 0 ? local : new Map([...globals, ...local]);
      records = longName = longLink = undefined;
      return memberOf(named, all, offset, what);
    },
  };
}

/** Only what is the same for many members makes sense for all; a name or size for all is an attack or a fault. */
function checkedGlobals(records: PaxRecords, what: string): readonly (readonly [string, string])[] {
  const kept: (readonly [string, string])[] = [];
  for (const [keyword, value] of records) {
    if (
      ["path", "linkpath", "size"].includes(keyword) ||
      keyword.startsWith(SPARSE) ||
      keyword.startsWith(XATTR)
    ) {
      throw tarError(what, `global extended header sets ${quoted(keyword)} for all entries`);
    }
    if (["mtime", "uid", "gid"].includes(keyword)) kept.push([keyword, value]);
  }
  return kept;
}

function untilNul(body: Buffer): string {
  const nul = body.indexOf(0);
  return body.toString("latin1", 0, nul < 0 ? body.length : nul);
}

function memberOf(raw: RawHeader, records: PaxRecords, offset: number, what: string): TarMember {
  const { name, linkName } = raw;
  if (name.includes("\0") || linkName.includes("\0"))
    throw tarError(what, `entry ${quoted(name)} has a NUL in its name`);
  for (const keyword of records.keys()) {
    if (keyword.startsWith(SPARSE))
      throw unsupported(what, records.get("GNU.sparse.name") ?? name, "is stored as a sparse file");
  }
  const type = typeOf(raw, what);
  const record = (keyword: string, max: number, found: number): number => {
    const value = records.get(keyword);
    return value === undefined || value === "" ? found : parsePaxNumber(value, max, keyword, what);
  };
  const size = record("size", Number.MAX_SAFE_INTEGER, raw.size);
  const uid = record("uid", MAX_ID, raw.uid);
  const gid = record("gid", MAX_ID, raw.gid);
  if (uid < 0 || uid > MAX_ID || gid < 0 || gid > MAX_ID)
    throw tarError(what, `entry ${quoted(name)} has an owner out of range`);
  if (size < 0) throw tarError(what, `entry ${quoted(name)} has a negative size`);
  if (type === "dir" && raw.typeflag !== "5" && size > 0) {
    throw tarError(what, `entry ${quoted(name)} is a directory by its name and has content`);
  }
  const time = records.get("mtime");
  const xattrs = xattrsOf(records);
  return {
    name,
    type,
    mode: raw.mode & 0o7777,
    uid,
    gid,
    // Source: Go's archive/tar, which container tools write and read layers with: only regular files have content.
    size: type === "file" ? size : 0,
    mtimeNs:
      time === undefined || time === "" ? BigInt(raw.mtime) * 1_000_000_000n : parsePaxTime(time, name, what),
    linkName,
    offset,
    ...(type === "char" || type === "block" ? { device: deviceOf(raw, what) } : {}),
    ...(xattrs ? { xattrs } : {}),
  };
}

function typeOf(raw: RawHeader, what: string): EntryType | "link" {
  const type = TYPES[raw.typeflag];
  if (raw.typeflag === "S") throw unsupported(what, raw.name, "is stored as a sparse file");
  if (!type) throw unsupported(what, raw.name, `is of an unknown type, ${quoted(raw.typeflag)}`);
  // Writers from before directories had a type of their own marked them with a slash.
  return type === "file" && raw.name.endsWith("/") ? "dir" : type;
}

function unsupported(what: string, name: string, reason: string): CooperError {
  return new CooperError("unsupported", `${what}: entry ${quoted(name)} ${reason}`);
}

function deviceOf(raw: RawHeader, what: string): { readonly major: number; readonly minor: number } {
  const { major, minor } = raw;
  // What mknod(2) takes; a larger number would be cut to one of another device. Source: Linux kdev_t.h, new_decode_dev.
  if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) {
    throw tarError(what, `entry ${quoted(raw.name)} has a device number out of range`);
  }
  return { major, minor };
}

function xattrsOf(records: PaxRecords): ReadonlyMap<string, Buffer> | undefined {
  let found: Map<string, Buffer> | undefined;
  for (const [keyword, value] of records) {
    if (!keyword.startsWith(XATTR)) continue;
    found ??= new Map();
    found.set(keyword.slice(XATTR.length), Buffer.from(value, "latin1"));
  }
  return found;
}
