import { availableParallelism } from "node:os";
import { constants, crc32, deflateRaw } from "node:zlib";

/** Input bytes that one thread compresses at a time; part of what decides the output, so never change it lightly. */
const BLOCK_SIZE = 512 * 1024;
/** How far back a match may reach, so what the next block must know of the one before. Source: RFC 1951. */
const WINDOW = 32 * 1024;
/** Blocks in work at once; each holds its input and its output. */
const AHEAD = Math.max(2, Math.min(4, availableParallelism()));
const LEVEL = 5;
/** No name, no time, no operating system: the same for the same content. Source: RFC 1952. */
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

/**
 * One gzip member of all bytes, compressed in blocks on Node's thread pool. The same input gives the same output with
 * one Node and zlib version, however many threads work on it. Memory: a few MiB, whatever the size.
 */
export async function* gzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  yield HEADER;
  const running: Promise<Buffer>[] = [];
  let dictionary: Buffer | undefined;
  let crc = 0;
  let size = 0;
  let previous: Buffer | undefined;
  const start = (block: Buffer, isLast: boolean): void => {
    const job = deflate(block, dictionary, isLast);
    // Awaited in order below; a failure must not count as unhandled while an earlier block is awaited.
    job.catch(() => undefined);
    running.push(job);
    dictionary = block.length >= WINDOW ? block.subarray(block.length - WINDOW) : undefined;
  };
  for await (const block of inBlocks(source)) {
    crc = crc32(block, crc);
    size += block.length;
    // One block is held back, since the last one is ended differently.
    if (previous) start(previous, false);
    previous = block;
    while (running.length >= AHEAD) yield await (running.shift() as Promise<Buffer>);
  }
  start(previous ?? Buffer.alloc(0), true);
  for (const job of running) yield await job;
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc, 0);
  trailer.writeUInt32LE(size % 2 ** 32, 4);
  yield trailer;
}

function deflate(block: Buffer, dictionary: Buffer | undefined, isLast: boolean): Promise<Buffer> {
  const options = {
    level: LEVEL,
    finishFlush: isLast ? constants.Z_FINISH : constants.Z_SYNC_FLUSH,
    chunkSize: BLOCK_SIZE / 2,
    ...(dictionary ? { dictionary } : {}),
  };
  return new Promise((resolve, reject) => {
    deflateRaw(block, options, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

async function* inBlocks(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let block = Buffer.allocUnsafe(BLOCK_SIZE);
  let used = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const copied = chunk.copy(block, used, at);
      at += copied;
      used += copied;
      if (used < BLOCK_SIZE) continue;
      yield block;
      block = Buffer.allocUnsafe(BLOCK_SIZE);
      used = 0;
    }
  }
  if (used > 0) yield block.subarray(0, used);
}
