import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { errnoOf } from "../errors.js";
import { atomicWrite } from "../fs/index.js";
import type { Digest } from "../image/index.js";
import { digestFromHex, hexOf } from "../image/index.js";

export type Xattrs = ReadonlyMap<string, Buffer>;

/** What tells whether a file is still the one that was read. All from one `lstat`; times in nanoseconds since 1970. */
export interface FileStamp {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/** What is remembered of one file, directory or link. */
export interface KnownFile {
  readonly xattrs: Xattrs;
  /** Missing while nobody asked for it. */
  readonly digest?: Digest;
}

/** Digests and attributes of files that did not change since an earlier build, for one context directory. */
export interface StatCache {
  find(stamp: FileStamp): KnownFile | undefined;
  /** `readAt`: the clock just before the file was read, ms since 1970. */
  learn(stamp: FileStamp, known: KnownFile, readAt: number): void;
  /** Writes what was learned; does nothing when that is nothing. Throws `io`, `no-space`. */
  save(): void;
}

/** Remembers nothing. */
export const NO_STAT_CACHE: StatCache = {
  find: () => undefined,
  learn: () => undefined,
  save: () => undefined,
};

/** A file that was looked up or read in this process. */
interface Fresh {
  readonly stamp: FileStamp;
  readonly known: KnownFile;
  /** False while a change of the file might still leave its ctime as it is. */
  readonly settled: boolean;
}

/**
 * A change within the file system's clock tick (1 to 10 ms, and timers are late) after a file was read may leave its
 * times as they were. So only files whose ctime was older than this when they were read are remembered, as git does
 * with files as young as its index. Nanoseconds.
 */
const SETTLING_NS = 20_000_000n;
/** Builds that learn something may come this often without a file before it is forgotten. */
const MAX_AGE = 16;

const MAGIC = 0x31_4154_5350_4f43n; // "COPSTA1", and wrong on a machine of the other byte order
const HEADER_WORDS = 8;
const RECORD_WORDS = 10;
/** Words of a record: dev, ino, size, mtime, ctime, four of the digest, and set | age << 32 | hasDigest << 40. */
const DIGEST_WORD = 5;
const FLAGS_WORD = 9;
const NO_XATTRS: Xattrs = new Map();

/**
 * Opens the cache of one context directory. A file that is missing, cut off, of another version or changed by anybody
 * else counts as empty. `path` is the file's; its directory is made when something is saved.
 */
export function openStatCache(directory: string, contextRealPath: string): StatCache {
  const name = createHash("sha256").update(contextRealPath, "latin1").digest("hex").slice(0, 32);
  const path = `${directory}/${name}.stat`;
  let loaded: Loaded | undefined;
  let isLoaded = false;
  const fresh = new Map<bigint, Fresh[]>();
  let hasNews = false;

  function old(): Loaded | undefined {
    if (!isLoaded) loaded = load(path);
    isLoaded = true;
    return loaded;
  }

  return {
    find(stamp) {
      const known = fresh.get(stamp.ino)?.find((each) => isSame(each.stamp, stamp));
      return known?.known ?? old()?.find(stamp);
    },
    learn(stamp, known, readAt) {
      old()?.forget(stamp);
      const settled = BigInt(Math.floor(readAt)) * 1_000_000n - stamp.ctimeNs > SETTLING_NS;
      hasNews ||= settled;
      const others = (fresh.get(stamp.ino) ?? []).filter((each) => each.stamp.dev !== stamp.dev);
      fresh.set(stamp.ino, [...others, { stamp, known, settled }]);
    },
    save() {
      if (!hasNews) return;
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const settled = [...fresh.values()].flat().filter((each) => each.settled);
      atomicWrite(path, encode(settled, old()), { durable: false, mode: 0o600 });
      hasNews = false;
    },
  };
}

function isSame(a: FileStamp, b: FileStamp): boolean {
  return (
    a.ino === b.ino &&
    a.ctimeNs === b.ctimeNs &&
    a.mtimeNs === b.mtimeNs &&
    a.size === b.size &&
    a.dev === b.dev
  );
}

/** The records of a cache file, found by inode number without an object for each. */
class Loaded {
  readonly words: BigUint64Array;
  readonly #signed: BigInt64Array;
  readonly #bytes: Buffer;
  readonly #sets: readonly Xattrs[];
  readonly #slots: Int32Array;
  readonly seen: Uint8Array;

  constructor(buffer: ArrayBuffer, count: number, sets: readonly Xattrs[]) {
    this.words = new BigUint64Array(buffer, HEADER_WORDS * 8, count * RECORD_WORDS);
    this.#signed = new BigInt64Array(buffer, HEADER_WORDS * 8, count * RECORD_WORDS);
    this.#bytes = Buffer.from(buffer, HEADER_WORDS * 8, count * RECORD_WORDS * 8);
    this.#sets = sets;
    this.seen = new Uint8Array(count);
    const low = new Uint32Array(buffer, HEADER_WORDS * 8, count * RECORD_WORDS * 2);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(count * 2 + 2))).fill(-1);
    for (let i = 0; i < count; i += 1) {
      let slot = this.#slotOf(low[i * RECORD_WORDS * 2 + 2] ?? 0);
      while ((this.#slots[slot] ?? -1) >= 0) slot = (slot + 1) & (this.#slots.length - 1);
      this.#slots[slot] = i;
    }
  }

  find(stamp: FileStamp): KnownFile | undefined {
    const i = this.#recordOf(stamp);
    if (i < 0) return undefined;
    const at = i * RECORD_WORDS;
    const same =
      this.words[at + 2] === stamp.size &&
      this.#signed[at + 3] === stamp.mtimeNs &&
      this.#signed[at + 4] === stamp.ctimeNs;
    if (!same) return undefined;
    this.seen[i] = 1;
    const flags = this.#flags(i);
    const xattrs = flags.set === 0 ? NO_XATTRS : this.#sets[flags.set - 1];
    if (!xattrs) return undefined;
    return flags.hasDigest ? { xattrs, digest: this.#digest(i) } : { xattrs };
  }

  /** Drops the record of a file that changed. */
  forget(stamp: FileStamp): void {
    const i = this.#recordOf(stamp);
    if (i >= 0) this.seen[i] = 2;
  }

  /** The records to keep, each with its stamp and what is known. */
  *kept(): Generator<{ readonly record: BigUint64Array; readonly xattrs: Xattrs; readonly age: number }> {
    for (let i = 0; i < this.seen.length; i += 1) {
      const flags = this.#flags(i);
      const age = this.seen[i] === 1 ? 0 : flags.age + 1;
      const xattrs = flags.set === 0 ? NO_XATTRS : this.#sets[flags.set - 1];
      if (this.seen[i] === 2 || age > MAX_AGE || !xattrs) continue;
      yield { record: this.words.subarray(i * RECORD_WORDS, (i + 1) * RECORD_WORDS), xattrs, age };
    }
  }

  #slotOf(inodeLow: number): number {
    return (Math.imul(inodeLow, 0x9e37_79b1) >>> 8) & (this.#slots.length - 1);
  }

  #recordOf(stamp: FileStamp): number {
    for (
      let slot = this.#slotOf(Number(stamp.ino & 0xffff_ffffn));
      ;
      slot = (slot + 1) & (this.#slots.length - 1)
    ) {
      const i = this.#slots[slot] ?? -1;
      if (i < 0) return -1;
      const at = i * RECORD_WORDS;
      if (this.words[at + 1] === stamp.ino && this.words[at] === stamp.dev)
        return this.seen[i] === 2 ? -1 : i;
    }
  }

  #digest(i: number): Digest {
    const at = (i * RECORD_WORDS + DIGEST_WORD) * 8;
    return digestFromHex<Digest>(this.#bytes.toString("hex", at, at + 32));
  }

  #flags(i: number): { readonly set: number; readonly age: number; readonly hasDigest: boolean } {
    const at = (i * RECORD_WORDS + FLAGS_WORD) * 8;
    return {
      set: this.#bytes.readUInt32LE(at),
      age: this.#bytes[at + 4] ?? 0,
      hasDigest: this.#bytes[at + 5] === 1,
    };
  }
}

/** Header words: magic, number of records, bytes of the attribute sets, none, and four of the sha256 of all that follows. */
function load(path: string): Loaded | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  if (bytes.length < HEADER_WORDS * 8 || bytes.readBigUInt64LE(0) !== MAGIC) return undefined;
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  const [magic, count, setBytes] = new BigUint64Array(buffer, 0, HEADER_WORDS);
  const records = Number(count) * RECORD_WORDS * 8;
  if (magic !== MAGIC || HEADER_WORDS * 8 + records + Number(setBytes) !== bytes.length) return undefined;
  const sum = createHash("sha256")
    .update(bytes.subarray(HEADER_WORDS * 8))
    .digest();
  if (!sum.equals(bytes.subarray(32, 64))) return undefined;
  return new Loaded(buffer, Number(count), decodeSets(bytes.subarray(HEADER_WORDS * 8 + records)));
}

function encode(fresh: readonly Fresh[], old: Loaded | undefined): Buffer {
  const kept = old ? [...old.kept()] : [];
  const count = fresh.length + kept.length;
  const buffer = Buffer.alloc((HEADER_WORDS + count * RECORD_WORDS) * 8);
  const words = new BigUint64Array(buffer.buffer, buffer.byteOffset, buffer.length / 8);
  const sets = new XattrSets();
  let at = HEADER_WORDS;
  for (const { stamp, known } of fresh) {
    words.set(
      [
        stamp.dev,
        stamp.ino,
        stamp.size,
        BigInt.asUintN(64, stamp.mtimeNs),
        BigInt.asUintN(64, stamp.ctimeNs),
      ],
      at,
    );
    if (known.digest) buffer.write(hexOf(known.digest), (at + DIGEST_WORD) * 8, "hex");
    writeFlags(buffer, at, sets.add(known.xattrs), 0, known.digest !== undefined);
    at += RECORD_WORDS;
  }
  for (const { record, xattrs, age } of kept) {
    words.set(record, at);
    writeFlags(buffer, at, sets.add(xattrs), age, buffer[(at + FLAGS_WORD) * 8 + 5] === 1);
    at += RECORD_WORDS;
  }
  const encodedSets = sets.encode();
  words.set([MAGIC, BigInt(count), BigInt(encodedSets.length)]);
  const body = buffer.subarray(HEADER_WORDS * 8);
  createHash("sha256").update(body).update(encodedSets).digest().copy(buffer, 32);
  return Buffer.concat([buffer, encodedSets]);
}

function writeFlags(buffer: Buffer, word: number, set: number, age: number, hasDigest: boolean): void {
  const at = (word + FLAGS_WORD) * 8;
  buffer.writeUInt32LE(set, at);
  buffer[at + 4] = age;
  buffer[at + 5] = hasDigest ? 1 : 0;
}

/** Distinct sets of attributes, numbered from 1; 0 is the empty one. As JSON: `[[[name, base64], ...], ...]`. */
class XattrSets {
  readonly #numbers = new Map<string, number>();

  add(xattrs: Xattrs): number {
    if (xattrs.size === 0) return 0;
    const text = JSON.stringify([...xattrs].map(([name, value]) => [name, value.toString("base64")]));
    const number = this.#numbers.get(text) ?? this.#numbers.size + 1;
    this.#numbers.set(text, number);
    return number;
  }

  encode(): Buffer {
    return Buffer.from(`[${[...this.#numbers.keys()].join(",")}]`);
  }
}

function decodeSets(bytes: Buffer): readonly Xattrs[] {
  if (bytes.length === 2) return [];
  // Our own bytes: their sum was checked.
  const sets = JSON.parse(bytes.toString()) as readonly (readonly (readonly [string, string])[])[];
  return sets.map((set) => new Map(set.map(([name, value]) => [name, Buffer.from(value, "base64")])));
}
