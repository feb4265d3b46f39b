import { closeSync, openSync, readSync } from "node:fs";
import type { Readable } from "node:stream";
import * as zlib from "node:zlib";
import { CooperError, ioError } from "../errors.js";
import { CHUNK } from "./chunk.js";

/** What the first bytes of a file say about its compression. */
export type Wrapping = "none" | "gzip" | "bzip2" | "xz" | "zstd";

const MAGIC: readonly (readonly [Wrapping, string])[] = [
  ["gzip", "\x1f\x8b"],
  ["bzip2", "BZh"],
  ["xz", "\xfd7zXZ\0"],
  ["zstd", "\x28\xb5\x2f\xfd"],
];
/** Bytes that tell every wrapping apart. */
export const MAGIC_LENGTH = 6;
/** Frames may ask for up to 2 GiB of memory; 128 MiB is what the zstd command accepts by default. */
const ZSTD_WINDOW_LOG = 27;

export function wrappingOf(start: Buffer): Wrapping {
  const text = start.toString("latin1", 0, MAGIC_LENGTH);
  return MAGIC.find(([, magic]) => text.startsWith(magic))?.[0] ?? "none";
}

/**
 * The bytes of a layer out of its stored form, whatever its media type says: gzip and zstd are known by their first
 * bytes, anything else is passed on as it is. Throws `corrupt` for a damaged stream, `unsupported` for zstd that this
 * Node cannot read. Ends early when the consumer stops; memory does not grow with the content.
 */
export async function* unwrapped(source: Readable, what: string): AsyncGenerator<Buffer, void> {
  try {
    const iterator = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const { start, ended } = await firstBytes(iterator);
    const wrapping = wrappingOf(start);
    const rest = ended ? emptyIterator : iterator;
    if (wrapping === "gzip" || wrapping === "zstd") yield* decompressed(joined(start, rest), wrapping, what);
    else yield* joined(start, rest);
  } finally {
    source.destroy();
  }
}

const emptyIterator: AsyncIterator<Buffer> = {
  next: () => Promise.resolve({ done: true, value: undefined }),
};

async function firstBytes(
  iterator: AsyncIterator<Buffer>,
): Promise<{ readonly start: Buffer; readonly ended: boolean }> {
  let start: Buffer = Buffer.alloc(0);
  while (start.length < MAGIC_LENGTH) {
    const next = await iterator.next();
    if (next.done === true) return { start, ended: true };
    start = start.length === 0 ? next.value : Buffer.concat([start, next.value]);
  }
  return { start, ended: false };
}

async function* joined(start: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer, void> {
  if (start.length > 0) yield start;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}

/**
 * Feeds a decompressor by hand: a pipeline would turn an early stop of the consumer into an error of its own. When the
 * compressed data ends before the source does, the rest is read all the same, since its digest is checked at its end.
 */
export async function* decompressed(
  source: AsyncIterable<Buffer>,
  wrapping: "gzip" | "zstd",
  what: string,
): AsyncGenerator<Buffer, void> {
  const stream = decompressor(wrapping, what);
  let state = "running" as "running" | "drained" | "stopped";
  let sourceError: unknown;
  const feed = (async () => {
    for await (const chunk of source) {
      if (state === "stopped") return;
      if (state === "drained" || stream.destroyed) continue;
      if (!stream.write(chunk)) await writable(stream);
    }
    stream.end();
  })().catch((error: unknown) => {
    sourceError = error;
    stream.destroy();
  });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
    state = "drained";
  } catch (error) {
    state = "stopped";
    if (sourceError === undefined)
      throw new CooperError("corrupt", `${what}: damaged ${wrapping} stream: ${messageOf(error)}`, {
        cause: error,
      });
  } finally {
    if (state === "running") state = "stopped";
    stream.destroy();
    await feed;
  }
  if (sourceError !== undefined) throw sourceError;
}

/** Resolves when more may be written, or nothing ever will. */
function writable(stream: Readable & NodeJS.WritableStream): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      stream.off("drain", settle);
      stream.off("close", settle);
      resolve();
    };
    stream.on("drain", settle);
    stream.on("close", settle);
    if (stream.destroyed) settle();
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function decompressor(
  wrapping: "gzip" | "zstd",
  what: string,
): NodeJS.ReadWriteStream & Readable & zlib.Gunzip {
  if (wrapping === "gzip") return zlib.createGunzip({ chunkSize: CHUNK });
  const make = zstdOf().createZstdDecompress;
  if (!make) throw new CooperError("unsupported", `${what}: zstd needs Node 22.15 or newer`);
  return make({ chunkSize: CHUNK, params: { [zstdOf().windowLogMax]: ZSTD_WINDOW_LOG } }) as zlib.Gunzip;
}

interface ZstdOptions {
  readonly chunkSize?: number;
  readonly params?: Readonly<Record<number, number>>;
}

/** zstd as newer Nodes have it; the types of Node 20 do not know it. */
export function zstdOf(): {
  readonly createZstdDecompress: ((options: ZstdOptions) => Readable) | undefined;
  readonly createZstdCompress: ((options: ZstdOptions) => NodeJS.ReadWriteStream & Readable) | undefined;
  readonly windowLogMax: number;
} {
  const found = zlib as unknown as {
    readonly createZstdDecompress?: (options: ZstdOptions) => Readable;
    readonly createZstdCompress?: (options: ZstdOptions) => NodeJS.ReadWriteStream & Readable;
    readonly constants: { readonly ZSTD_d_windowLogMax?: number };
  };
  return {
    createZstdDecompress: found.createZstdDecompress,
    createZstdCompress: found.createZstdCompress,
    windowLogMax: found.constants.ZSTD_d_windowLogMax ?? 100,
  };
}

/** The bytes of a file in pieces; the same buffer each time when `reuse`. Throws `io`. */
export function* fileChunks(path: string, reuse: boolean): Generator<Buffer, void> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw ioError("open", path, error);
  }
  try {
    let buffer = Buffer.allocUnsafe(CHUNK);
    for (;;) {
      const length = readSync(fd, buffer, 0, CHUNK, null);
      if (length === 0) return;
      yield buffer.subarray(0, length);
      if (!reuse) buffer = Buffer.allocUnsafe(CHUNK);
    }
  } catch (error) {
    throw ioError("read", path, error);
  } finally {
    closeSync(fd);
  }
}
