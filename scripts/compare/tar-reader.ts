// Reads tar archives: ustar, pax, and GNU's long names and numbers. It shares nothing with the tar code in src/,
// since it judges what that code wrote. Names are bytes, held as latin1 strings.
import { createHash } from "node:crypto";

export interface TarEntry {
  readonly name: string;
  /** The tar type flag: `0` file, `1` hard link, `2` symbolic link, `3` `4` devices, `5` directory, `6` fifo. */
  readonly type: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Whole seconds since 1970: some tools write no more. */
  readonly time: number;
  readonly link: string;
  readonly device: string;
  readonly xattrs: ReadonlyMap<string, Buffer>;
  /** Of a file's bytes. */
  readonly digest: string;
}

const BLOCK = 512;
const TYPES = "0123456";
const XATTR = "SCHILY.xattr.";

/** Yields the entries in order. Throws where the archive is damaged or of a kind that this cannot read. */
export async function* readTar(chunks: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const bytes = new ByteReader(chunks);
  const global = new Map<string, Buffer>();
  let own = new Map<string, Buffer>();
  for (;;) {
    const header = await bytes.take(BLOCK);
    // An archive may end without its end mark.
    if (header.every((byte) => byte === 0)) return;
    checkSum(header);
    const flag = header.toString("latin1", 156, 157);
    const size = Number(own.get("size") ?? number(header, 124, 12));
    if (flag === "x" || flag === "g") {
      readRecords(await body(bytes, size), flag === "g" ? global : own);
    } else if (flag === "L" || flag === "K") {
      own.set(flag === "L" ? "path" : "linkpath", withoutNuls(await body(bytes, size)));
    } else {
      const records = new Map([...global, ...own]);
      own = new Map();
      const type = flag === "\0" || flag === "7" ? "0" : flag;
      if (!TYPES.includes(type) || [...records.keys()].some((key) => key.startsWith("GNU.sparse.")))
        throw new Error(`cannot read a tar entry of type ${JSON.stringify(flag)}`);
      yield { ...facts(header, records), type, size, digest: await digestOf(bytes, type === "0" ? size : 0) };
    }
  }
}

function facts(
  header: Buffer,
  records: ReadonlyMap<string, Buffer>,
): Omit<TarEntry, "type" | "size" | "digest"> {
  const prefix = header.toString("latin1", 257, 263) === "ustar\0" ? text(header, 345, 155) : "";
  const said = (key: string): string | undefined => records.get(key)?.toString("latin1");
  return {
    name: said("path") ?? (prefix === "" ? "" : `${prefix}/`) + text(header, 0, 100),
    mode: number(header, 100, 8) & 0o7777,
    uid: Number(said("uid") ?? number(header, 108, 8)),
    gid: Number(said("gid") ?? number(header, 116, 8)),
    time: Math.floor(Number(said("mtime") ?? number(header, 136, 12))),
    link: said("linkpath") ?? text(header, 157, 100),
    device: `${number(header, 329, 8)}:${number(header, 337, 8)}`,
    xattrs: new Map(
      [...records].flatMap(([key, value]) =>
        key.startsWith(XATTR) ? [[key.slice(XATTR.length), value] as const] : [],
      ),
    ),
  };
}

/** pax: `LENGTH KEY=VALUE\n`, the length counting itself. An empty value takes the key back. */
function readRecords(bytes: Buffer, into: Map<string, Buffer>): void {
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const end = at + Number(bytes.toString("latin1", at, space));
    const equals = bytes.indexOf(0x3d, space);
    if (!(end > at && end <= bytes.length) || equals < 0 || equals >= end)
      throw new Error("damaged pax header");
    const key = bytes.toString("latin1", space + 1, equals);
    if (equals + 2 === end && !key.startsWith(XATTR)) into.delete(key);
    else into.set(key, bytes.subarray(equals + 1, end - 1));
    at = end;
  }
}

function text(header: Buffer, at: number, length: number): string {
  return withoutNuls(header.subarray(at, at + length)).toString("latin1");
}

function withoutNuls(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

/** Octal digits, or GNU's big-endian binary when the first bit is set. */
function number(header: Buffer, at: number, length: number): number {
  const first = header[at] ?? 0;
  if (first < 0x80) return Number.parseInt(text(header, at, length).trim() || "0", 8);
  let value = first & 0x7f;
  for (let i = 1; i < length; i += 1) value = value * 256 + (header[at + i] ?? 0);
  return value;
}

function checkSum(header: Buffer): void {
  let sum = 8 * 0x20;
  for (const [at, byte] of header.entries()) if (at < 148 || at >= 156) sum += byte;
  if (sum !== number(header, 148, 8)) throw new Error("damaged tar header: its checksum is wrong");
}

async function body(bytes: ByteReader, size: number): Promise<Buffer> {
  const content = await bytes.take(size);
  if (content.length < size) throw new Error("the tar archive ends too early");
  await bytes.take(padding(size));
  return content;
}

async function digestOf(bytes: ByteReader, size: number): Promise<string> {
  const hash = createHash("sha256");
  for (let left = size; left > 0;) {
    const piece = await bytes.some(left);
    if (piece.length === 0) throw new Error("the tar archive ends too early");
    hash.update(piece);
    left -= piece.length;
  }
  await bytes.take(padding(size));
  return `sha256:${hash.digest("hex")}`;
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

/** Pulls exact amounts out of a stream of chunks. */
class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** At least one byte and at most `most`; empty at the end. */
  async some(most: number): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return this.#rest;
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  /** Exactly `size` bytes; fewer only at the end. */
  async take(size: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let left = size; left > 0;) {
      const piece = await this.some(left);
      if (piece.length === 0) break;
      pieces.push(piece);
      left -= piece.length;
    }
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  }
}
