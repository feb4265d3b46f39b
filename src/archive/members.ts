import { closeSync, createReadStream, openSync, readSync } from "node:fs";
import { posix } from "node:path";
import { Readable, Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import type { Header } from "tar-stream";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { MAX_DOCUMENT_SIZE } from "../image/index.js";

/** Bytes between the contents of two members: headers, long names, padding. More than that is hostile. */
const MAX_BETWEEN = 16 * 1024 * 1024;

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
  const guard = headerGuard(path);
  for (const stream of [file, source, guard.stream]) stream.on("error", fail);
  source.pipe(guard.stream).pipe(extractor);
  const seen = new Set<string>();
  try {
    for await (const entry of extractor) {
      signal?.throwIfAborted();
      entry.on("error", fail);
      guard.content(entry);
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

interface Ending {
  once(event: "end", listener: () => void): unknown;
}

/**
 * Passes an archive on and ends it when too much of it is no content: the parser keeps a long name or an extended header in
 * memory whatever size it says it has.
 */
function headerGuard(path: string): { readonly stream: Transform; content(entry: Ending): void } {
  let between = 0;
  let isContent = false;
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      between = isContent ? 0 : between + chunk.length;
      if (between <= MAX_BETWEEN) done(undefined, chunk);
      else done(new CooperError("corrupt", `cannot read ${path}: it has a header larger than 16 MiB`));
    },
  });
  return {
    stream,
    content(entry) {
      isContent = true;
      entry.once("end", () => (isContent = false));
    },
  };
}
