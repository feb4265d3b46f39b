import { closeSync, createReadStream, openSync, readSync } from "node:fs";
import { posix } from "node:path";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import type { Header } from "tar-stream";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { MAX_DOCUMENT_SIZE } from "../image/index.js";

/** Calls `visit` for every member; a name that stands twice is refused. What `visit` does not read is skipped. */
export async function eachMember(
  path: string,
  visit: (name: string, header: Header, content: Readable) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const { extract } = await import("tar-stream");
  const extractor = extract();
  const file = createReadStream(path);
  const source = isGzip(path) ? file.pipe(createGunzip()) : file;
  const fail = (error: Error): void => extractor.destroy(error);
  for (const stream of [file, source]) stream.on("error", fail);
  source.pipe(extractor);
  const seen = new Set<string>();
  try {
    for await (const entry of extractor) {
      signal?.throwIfAborted();
      entry.on("error", fail);
      const name = posix.normalize(entry.header.name).replace(/^\/+/, "");
      if (entry.header.type !== "directory" && seen.has(name))
        throw new CooperError("corrupt", `${path}: ${name} stands twice in it`);
      seen.add(name);
      await visit(name, entry.header, Readable.from(entry as AsyncIterable<Buffer>, { objectMode: false }));
      entry.resume();
    }
  } catch (error) {
    if (error instanceof CooperError) throw error;
    signal?.throwIfAborted();
    throw errnoOf(error) === undefined ? unreadable(path, error) : ioError("read", path, error);
  } finally {
    file.destroy();
    extractor.destroy();
  }
}

function unreadable(path: string, cause: unknown): CooperError {
  const said = cause instanceof Error ? cause.message : String(cause);
  const reason = said.startsWith("Invalid tar header")
    ? "it is not a tar archive"
    : said.replace(/^Unexpected end of data$/, "it is no tar archive, or is cut off");
  return new CooperError("corrupt", `cannot read ${path}: ${reason}`, { cause });
}

function isGzip(path: string): boolean {
  const fd = openSync(path, "r");
  try {
    const magic = Buffer.alloc(2);
    return readSync(fd, magic, 0, 2, 0) === 2 && magic[0] === 0x1f && magic[1] === 0x8b;
  } finally {
    closeSync(fd);
  }
}

/** All bytes of a document of at most 4 MiB. Throws `corrupt`. */
export async function collect(content: Readable, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of content) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > MAX_DOCUMENT_SIZE) throw new CooperError("corrupt", `${what} is larger than 4 MiB`);
  }
  return Buffer.concat(chunks);
}
