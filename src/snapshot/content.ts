import { fstatSync, readSync } from "node:fs";
import { CooperError, ioError } from "../errors.js";
import { textOf } from "../fs/index.js";
import type { OpenFile, TreeEntry } from "../fs/index.js";
import { CHUNK } from "./chunk.js";
import { shown } from "./layer-names.js";
import type { Change } from "./types.js";

/** Reads the content of one file of a layer being made. */
export interface ContentReader {
  readonly remaining: number;
  /** Fills `into` from `at` as far as it goes. */
  read(into: Buffer, at: number): number;
  close(): void;
}

/** Throws `context` when there is not exactly as much content as the entry says; the caller closes the reader. */
export function contentReader(change: Extract<Change, { kind: "add" }>): ContentReader {
  const { entry } = change;
  const content = change.content?.();
  if (!content) throw new Error(`no content for ${textOf(entry.path)}`);
  return content instanceof Uint8Array ? bytesReader(entry, content) : fileReader(entry, content);
}

function bytesReader(entry: TreeEntry, bytes: Uint8Array): ContentReader {
  if (bytes.length !== entry.size) throw changed(entry);
  let at = 0;
  return {
    get remaining() {
      return bytes.length - at;
    },
    read(into, position) {
      const length = Math.min(bytes.length - at, into.length - position);
      into.set(bytes.subarray(at, at + length), position);
      at += length;
      return length;
    },
    close: () => undefined,
  };
}

function fileReader(entry: TreeEntry, file: OpenFile): ContentReader {
  // Only a file of its own can grow unseen; content inside an archive begins after a header.
  const whole = file.offset === 0;
  const before = whole && entry.size > CHUNK ? fstatSync(file.fd) : undefined;
  let at = 0;
  const probe = Buffer.alloc(1);
  const atEnd = (probed: boolean): void => {
    if (whole && !probed && readAt(entry, file.fd, probe, 0, 1, at) !== 0) throw changed(entry);
    if (!before) return;
    const after = fstatSync(file.fd);
    if (after.size !== before.size || after.mtimeMs !== before.mtimeMs) throw changed(entry);
  };
  if (file.size !== entry.size) {
    file.close();
    throw changed(entry);
  }
  return {
    get remaining() {
      return entry.size - at;
    },
    read(into, position) {
      const wanted = entry.size - at;
      const room = into.length - position;
      // One byte more than there should be: a small file that has grown gives itself away without another call.
      const probes = whole && wanted < room;
      const length = probes ? wanted + 1 : Math.min(wanted, room);
      const found = readAt(entry, file.fd, into, position, length, file.offset + at);
      if (found === 0 || found > wanted) throw changed(entry);
      at += found;
      if (at === entry.size) atEnd(probes);
      return found;
    },
    close: () => file.close(),
  };
}

function readAt(
  entry: TreeEntry,
  fd: number,
  into: Buffer,
  at: number,
  length: number,
  position: number,
): number {
  try {
    return readSync(fd, into, at, length, position);
  } catch (error) {
    throw ioError("read", shown(entry.path), error);
  }
}

function changed(entry: TreeEntry): CooperError {
  return new CooperError("context", `"${textOf(entry.path)}" changed while it was read`);
}
