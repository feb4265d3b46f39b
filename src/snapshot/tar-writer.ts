import { CooperError } from "../errors.js";
import { baseName, parentOf, ROOT, textOf } from "../fs/index.js";
import type { BytePath, LayerFacts, TreeEntry } from "../fs/index.js";
import { CHUNK } from "./chunk.js";
import { contentReader } from "./content.js";
import { makeFacts } from "./facts.js";
import { isReserved, layerXattrs, OPAQUE_NAME, WHITEOUT_PREFIX } from "./layer-names.js";
import { formatPaxTime, paxRecord } from "./pax.js";
import { BLOCK, checksumOf, MAX_ID } from "./tar-header.js";
import type { Change } from "./types.js";

const MAX_OCTAL_7 = 0o7777777;
const MAX_OCTAL_11 = 0o77777777777;
const NS = 1_000_000_000n;
const EOF_BLOCKS = 2;
const TYPEFLAGS = { file: "0", link: "1", symlink: "2", char: "3", block: "4", dir: "5", fifo: "6" } as const;
/** Name of an extended header's own entry: never extracted by anything that reads it, so the same for all. */
const PAX_NAME = "././@PaxHeader";

// oxlint-disable-next-line no-control-regex -- the range is what "ASCII" means
const ASCII = /^[\u0000-\u007f]*$/;

/** A tar being made; `facts` holds once the last chunk was taken. */
export interface TarStream {
  /** The same buffer is filled again for the next chunk: use it before going on. */
  readonly chunks: Generator<Buffer, void>;
  facts(): LayerFacts;
}

/**
 * The tar of a layer, a pure function of its changes and their order (parents first). POSIX ustar; an extended header
 * only where a value does not fit. Throws `context` for a file that changed while it was read, `unsupported` for a
 * name or attribute that a layer cannot hold.
 */
export function writeTar(changes: Iterable<Change>): TarStream {
  const facts = collectFacts();
  const filling: Filling = { buffer: Buffer.allocUnsafe(CHUNK), used: 0, total: 0 };
  const firstLinks = new Map<string, BytePath>();
  function* chunks(): Generator<Buffer, void> {
    for (const change of changes) {
      facts.add(change);
      yield* putHead(filling, headOf(change, firstLinks));
      if (change.kind !== "add" || change.entry.type !== "file" || change.entry.size === 0) continue;
      if (!isLink(change.entry, firstLinks)) yield* putContent(filling, change);
    }
    yield* putHead(filling, Buffer.alloc(EOF_BLOCKS * BLOCK));
    if (filling.used > 0) yield flushed(filling);
  }
  return { chunks: chunks(), facts: () => facts.result(filling.total) };
}

/** The chunk being filled, and how much was handed out before. A chunk is a whole number of blocks. */
interface Filling {
  readonly buffer: Buffer;
  used: number;
  total: number;
}

function flushed(filling: Filling): Buffer {
  const chunk = filling.buffer.subarray(0, filling.used);
  filling.total += filling.used;
  filling.used = 0;
  return chunk;
}

function* putHead(filling: Filling, head: Buffer): Generator<Buffer, void> {
  for (let at = 0; at < head.length;) {
    const copied = head.copy(filling.buffer, filling.used, at);
    at += copied;
    filling.used += copied;
    if (filling.used === CHUNK) yield flushed(filling);
  }
}

function* putContent(filling: Filling, change: Extract<Change, { kind: "add" }>): Generator<Buffer, void> {
  const content = contentReader(change);
  try {
    while (content.remaining > 0) {
      filling.used += content.read(filling.buffer, filling.used);
      if (filling.used === CHUNK) yield flushed(filling);
    }
  } finally {
    content.close();
  }
  const padded = Math.ceil(filling.used / BLOCK) * BLOCK;
  filling.buffer.fill(0, filling.used, padded);
  filling.used = padded;
  if (filling.used === CHUNK) yield flushed(filling);
}

function isLink(entry: TreeEntry, firstLinks: ReadonlyMap<string, BytePath>): boolean {
  return entry.linkId !== undefined && firstLinks.get(entry.linkId) !== entry.path;
}

/** Which parents have no entry of their own, and which directories are opaque. */
function collectFacts(): { add(change: Change): void; result(size: number): LayerFacts } {
  const dirs = new Set<string>();
  const implicit = new Set<BytePath>();
  const opaque: BytePath[] = [];
  const xattrs: BytePath[] = [];
  let hasEntries = false;
  let lastParent: string | undefined;
  const addParents = (from: BytePath): void => {
    for (let dir = from; !dirs.has(dir); dir = parentOf(dir)) {
      dirs.add(dir);
      implicit.add(dir);
      if (dir === ROOT) return;
    }
  };
  return {
    add(change) {
      hasEntries = true;
      const path = change.kind === "add" ? change.entry.path : change.path;
      const parent = change.kind === "opaque" ? path : parentOf(path);
      if (change.kind === "opaque") opaque.push(path);
      if (path !== ROOT && parent !== lastParent) addParents(parent);
      lastParent = parent;
      if (change.kind === "add" && change.entry.xattrs && layerXattrs(change.entry.xattrs).size > 0)
        xattrs.push(path);
      if (change.kind !== "add" || change.entry.type !== "dir") return;
      dirs.add(path);
      implicit.delete(path);
    },
    result: (size) =>
      makeFacts({ size, hasEntries, implicitDirs: [...implicit], opaqueDirs: opaque, xattrPaths: xattrs }),
  };
}

/** All header blocks of one change. */
function headOf(change: Change, firstLinks: Map<string, BytePath>): Buffer {
  if (change.kind === "whiteout") {
    const dir = parentOf(change.path);
    return marker(`${dir === "" ? "" : `${dir}/`}${WHITEOUT_PREFIX}${baseName(change.path)}`);
  }
  if (change.kind === "opaque") return marker(`${change.path === "" ? "" : `${change.path}/`}${OPAQUE_NAME}`);
  const { entry } = change;
  if (isReserved(entry.path)) {
    throw new CooperError(
      "unsupported",
      `"/${textOf(entry.path)}" cannot be kept in a layer: names that begin with "${WHITEOUT_PREFIX}" mark deleted files there`,
    );
  }
  if (entry.linkId === undefined) return encode(entry, undefined);
  const first = firstLinks.get(entry.linkId);
  if (first === undefined) firstLinks.set(entry.linkId, entry.path);
  return encode(entry, first);
}

/** Whiteouts and opaque markers are empty files whose attributes mean nothing; always the same ones. */
function marker(name: string): Buffer {
  return encode(
    { path: name as BytePath, type: "file", mode: 0, uid: 0, gid: 0, size: 0, mtimeNs: 0n },
    undefined,
  );
}

function encode(entry: TreeEntry, linkTo: BytePath | undefined): Buffer {
  if (entry.type === "socket") {
    throw new CooperError("unsupported", `"/${textOf(entry.path)}" is a socket, which a layer cannot hold`);
  }
  if (entry.uid > MAX_ID || entry.gid > MAX_ID)
    throw new CooperError("unsupported", `"/${textOf(entry.path)}" has an owner out of range`);
  const isDir = entry.type === "dir";
  const name = isDir ? (entry.path === ROOT ? "./" : `${entry.path}/`) : entry.path;
  const type = linkTo === undefined ? entry.type : "link";
  const size = type === "file" ? entry.size : 0;
  const linkName = linkTo ?? entry.target ?? "";
  const split = splitName(name);
  const records = recordsOf(entry, {
    name,
    linkName,
    size,
    fits: split !== undefined,
    isLink: linkTo !== undefined,
  });
  const body = records === "" ? undefined : Buffer.from(records, "latin1");
  const bodyLength = body ? BLOCK + Math.ceil(body.length / BLOCK) * BLOCK : 0;
  const out = Buffer.alloc(bodyLength + BLOCK);
  if (body) {
    fillHeader(out, 0, {
      name: PAX_NAME,
      prefix: "",
      typeflag: "x",
      mode: 0,
      uid: 0,
      gid: 0,
      size: body.length,
      seconds: 0,
      linkName: "",
    });
    body.copy(out, BLOCK);
  }
  const seconds = floorSeconds(entry.mtimeNs);
  fillHeader(out, bodyLength, {
    name: split?.name ?? name.slice(0, 100),
    prefix: split?.prefix ?? "",
    typeflag: TYPEFLAGS[type],
    mode: entry.mode & 0o7777,
    uid: entry.uid > MAX_OCTAL_7 ? 0 : entry.uid,
    gid: entry.gid > MAX_OCTAL_7 ? 0 : entry.gid,
    size: size > MAX_OCTAL_11 ? 0 : size,
    seconds: seconds < 0 || seconds > MAX_OCTAL_11 ? 0 : seconds,
    linkName: linkName.slice(0, 100),
    ...(entry.device && linkTo === undefined ? { device: entry.device } : {}),
  });
  return out;
}

function floorSeconds(ns: bigint): number {
  return ns < 0n ? -1 : Number(ns / NS);
}

/** A name as ustar's two fields; undefined when it needs an extended header. */
function splitName(name: string): { readonly name: string; readonly prefix: string } | undefined {
  if (!ASCII.test(name)) return undefined;
  if (name.length <= 100) return { name, prefix: "" };
  if (name.length > 256) return undefined;
  const slash = name.indexOf("/", name.length - 101);
  if (slash <= 0 || slash > 155 || slash === name.length - 1) return undefined;
  return { name: name.slice(slash + 1), prefix: name.slice(0, slash) };
}

function recordsOf(
  entry: TreeEntry,
  member: {
    readonly name: string;
    readonly linkName: string;
    readonly size: number;
    readonly fits: boolean;
    readonly isLink: boolean;
  },
): string {
  let records = "";
  if (!member.fits) records += paxRecord("path", member.name);
  if (member.linkName.length > 100 || !ASCII.test(member.linkName))
    records += paxRecord("linkpath", member.linkName);
  if (member.size > MAX_OCTAL_11) records += paxRecord("size", String(member.size));
  if (entry.uid > MAX_OCTAL_7) records += paxRecord("uid", String(entry.uid));
  if (entry.gid > MAX_OCTAL_7) records += paxRecord("gid", String(entry.gid));
  if (entry.mtimeNs < 0n || entry.mtimeNs % NS !== 0n || entry.mtimeNs / NS > MAX_OCTAL_11) {
    records += paxRecord("mtime", formatPaxTime(entry.mtimeNs));
  }
  if (!entry.xattrs || member.isLink) return records;
  for (const [name, value] of [...layerXattrs(entry.xattrs)].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (name.includes("=")) {
      throw new CooperError(
        "unsupported",
        `"/${textOf(entry.path)}" has an extended attribute that a tar cannot hold: "${textOf(name)}"`,
      );
    }
    records += paxRecord(`SCHILY.xattr.${name}`, value.toString("latin1"));
  }
  return records;
}

interface HeaderFields {
  readonly name: string;
  readonly prefix: string;
  readonly typeflag: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly seconds: number;
  readonly linkName: string;
  readonly device?: { readonly major: number; readonly minor: number };
}

/** Writes a ustar header into zeroed bytes. Source: POSIX.1-2017, pax "ustar Interchange Format". */
function fillHeader(out: Buffer, at: number, fields: HeaderFields): void {
  out.write(fields.name, at, 100, "latin1");
  octal(out, at + 100, 7, fields.mode);
  octal(out, at + 108, 7, fields.uid);
  octal(out, at + 116, 7, fields.gid);
  octal(out, at + 124, 11, fields.size);
  octal(out, at + 136, 11, fields.seconds);
  out.write(fields.typeflag, at + 156, 1, "latin1");
  if (fields.linkName !== "") out.write(fields.linkName, at + 157, 100, "latin1");
  out.write("ustar\u000000", at + 257, 8, "latin1");
  octal(out, at + 329, 7, fields.device?.major ?? 0);
  octal(out, at + 337, 7, fields.device?.minor ?? 0);
  if (fields.prefix !== "") out.write(fields.prefix, at + 345, 155, "latin1");
  octal(out, at + 148, 6, checksumOf(out.subarray(at, at + BLOCK)));
  out[at + 155] = 0x20;
}

function octal(out: Buffer, at: number, digits: number, value: number): void {
  let rest = value;
  for (let i = at + digits - 1; i >= at; i -= 1) {
    out[i] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
}
