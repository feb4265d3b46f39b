import { closeSync, openSync, readSync } from "node:fs";
import { gunzipSync, constants } from "node:zlib";
import { CooperError, ioError } from "../errors.js";
import type { BytePath, LayerHome, OpenFile, TreeEntry } from "../fs/index.js";
import { inodeOf } from "./inode.js";
import { componentsOf, WHITEOUT_PREFIX } from "./layer-names.js";
import { createOutput, skimFrom } from "./layers.js";
import { endOfMembers, firstMember } from "./gzip-members.js";
import { decompressed, MAGIC_LENGTH, wrappingOf, zstdOf } from "./layer-stream.js";
import type { Wrapping } from "./layer-stream.js";
import { hostDecompressed, hostPeek } from "./host-decompressor.js";
import { pump, spaceGuard } from "./pump.js";
import { BLOCK, isHeader, quoted, tarError } from "./tar-header.js";
import type { TarMember } from "./tar-header.js";
import { createTarParser } from "./tar-parser.js";
import { CHUNK } from "./chunk.js";
import type { Change } from "./types.js";

/** Compressed bytes that are looked at to tell whether a tar is inside: more than one block of any of the formats. */
const PEEK = 1024 * 1024;

/** True when the first bytes are a tar header, plain or inside gzip, bzip2, xz or zstd. Reads at most 1 MiB. */
export function isArchive(file: OpenFile): boolean {
  const start = readStart(file, BLOCK);
  const wrapping = wrappingOf(start);
  if (wrapping === "none") return isHeader(start);
  const inside = peekInside(readStart(file, PEEK), wrapping);
  // Without the program that could tell, the magic number decides; reading it will say what to install.
  return inside === undefined || isHeader(inside);
}

function readStart(file: OpenFile, limit: number): Buffer {
  const buffer = Buffer.alloc(Math.min(limit, file.size));
  let filled = 0;
  try {
    for (let n = -1; n !== 0 && filled < buffer.length; filled += n) {
      n = readSync(file.fd, buffer, filled, buffer.length - filled, file.offset + filled);
    }
  } catch (error) {
    throw ioError("read", "an archive", error);
  }
  return buffer.subarray(0, filled);
}

/** The first uncompressed bytes; undefined when nothing here can uncompress them. Empty for a damaged stream. */
function peekInside(start: Buffer, wrapping: Exclude<Wrapping, "none">): Buffer | undefined {
  if (wrapping !== "gzip") return hostPeek(wrapping, start, BLOCK);
  // Little input, so that a bomb cannot make much of it.
  const prefix = start.subarray(0, 4096);
  try {
    return gunzipSync(prefix, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 16 * 1024 * 1024 });
  } catch {
    // Damaged, or other bytes follow: the first member tells.
    return firstMember(prefix) ?? Buffer.alloc(0);
  }
}

/**
 * The members of an archive, in its order, as changes: names cleaned, never outside the root; a directory entry for the
 * root itself is left out, since ADD's destination is not the archive's to change. What is compressed is unpacked into
 * an unlinked temporary file first; what follows the last member of a gzip file is ignored. Contents can be read until the last of them was, also after `file` was closed.
 * Throws `corrupt`, `unsupported`, `no-space`, `io`, `aborted`.
 */
export async function* readArchive(
  home: LayerHome,
  file: OpenFile,
  name: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Change, void> {
  const what = `archive ${quoted(Buffer.from(name, "utf8").toString("latin1"))}`;
  const wrapping = wrappingOf(readStart(file, MAGIC_LENGTH));
  const tar =
    wrapping === "none" ? reopened(file, what) : await unpackedMembers(home, file, wrapping, what, signal);
  const shared = sharedFile(tar.fd);
  try {
    const members: TarMember[] = [];
    skimFrom(tar, createTarParser({ member: (member) => void members.push(member) }, what), what);
    yield* changesOf(members, what, (member) => shared.part(tar.offset + member.offset, member.size));
  } finally {
    shared.release();
  }
}

function* changesOf(
  members: readonly TarMember[],
  what: string,
  contentOf: (member: TarMember) => () => OpenFile,
): Generator<Change, void> {
  const targets = linkTargets(members, what);
  const linked = new Map<
    BytePath,
    { readonly entry: TreeEntry; readonly content: (() => OpenFile) | undefined }
  >();
  for (const member of members) {
    const path = pathOf(member.name, what);
    if (path === "") {
      if (member.type === "dir") continue;
      throw tarError(what, `entry ${quoted(member.name)} would replace the root by a ${member.type}`);
    }
    if (member.type === "link") {
      const target = linked.get(pathOf(member.linkName, what));
      if (!target)
        throw tarError(
          what,
          `entry ${quoted(member.name)} is a hard link to ${quoted(member.linkName)}, which is no file before it`,
        );
      linked.set(path, target);
      yield {
        kind: "add",
        entry: { ...target.entry, path },
        ...(target.content ? { content: target.content } : {}),
      };
      continue;
    }
    const entry = entryOf(member, path, targets.has(path), what);
    const content = entry.type === "file" ? contentOf(member) : undefined;
    if (entry.linkId === undefined) linked.delete(path);
    else linked.set(path, { entry, content });
    yield { kind: "add", entry, ...(content ? { content } : {}) };
  }
}

/** The names that hard links refer to; each gets an identity even before its links come. */
function linkTargets(members: readonly TarMember[], what: string): ReadonlySet<BytePath> {
  const targets = new Set<BytePath>();
  for (const member of members) {
    if (member.type !== "link") continue;
    targets.add(pathOf(member.linkName, what));
    targets.add(pathOf(member.name, what));
  }
  return targets;
}

let madeIds = 0;

function entryOf(member: TarMember, path: BytePath, isLinked: boolean, what: string): TreeEntry {
  const inode = inodeOf(member, what);
  return {
    path,
    ...inode,
    ...(isLinked && inode.type !== "dir" ? { linkId: `archive:${(madeIds += 1)}` } : {}),
  };
}

function pathOf(name: string, what: string): BytePath {
  const components = componentsOf(name, what);
  if (components.some((part) => part.startsWith(WHITEOUT_PREFIX))) {
    throw new CooperError(
      "unsupported",
      `${what}: entry ${quoted(name)} cannot be kept in a layer: names that begin with "${WHITEOUT_PREFIX}" mark deleted files there`,
    );
  }
  return components.join("/") as BytePath;
}

/** A descriptor of our own, so that the caller may close his. */
function reopened(
  file: OpenFile,
  what: string,
): { readonly fd: number; readonly offset: number; readonly size: number } {
  try {
    return { fd: openSync(`/proc/self/fd/${file.fd}`, "r"), offset: file.offset, size: file.size };
  } catch (error) {
    throw ioError("read", what, error);
  }
}

/** As `unpacked`; where bytes that are no gzip follow the gzip, without them. */
async function unpackedMembers(...args: Parameters<typeof unpacked>): ReturnType<typeof unpacked> {
  try {
    return await unpacked(...args);
  } catch (error) {
    const [home, file, wrapping, what, signal] = args;
    const isDamaged = error instanceof CooperError && error.code === "corrupt";
    const size = isDamaged && wrapping === "gzip" ? await endOfMembers(file) : undefined;
    if (size === undefined) throw error;
    return unpacked(home, { ...file, size }, wrapping, what, signal);
  }
}

/** The uncompressed tar as an unlinked file on the store's file system. */
async function unpacked(
  home: LayerHome,
  file: OpenFile,
  wrapping: Exclude<Wrapping, "none">,
  what: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly fd: number; readonly offset: number; readonly size: number }> {
  await using staged = home.stage();
  const path = `${staged.path}/archive`;
  const out = createOutput(path, spaceGuard(staged.path, what));
  let size = 0;
  try {
    const useNode =
      wrapping === "gzip" || (wrapping === "zstd" && zstdOf().createZstdDecompress !== undefined);
    const chunks = useNode
      ? decompressed(rangeChunks(file), wrapping, what)
      : hostDecompressed(wrapping, rangeChunks(file), what);
    await pump(
      chunks,
      (chunk) => {
        size += chunk.length;
        out.write(chunk);
      },
      signal,
    );
    out.end();
  } finally {
    out.close();
  }
  return { fd: openSync(path, "r"), offset: 0, size };
}

async function* rangeChunks(file: OpenFile): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < file.size;) {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, file.size - at));
    const length = readSync(file.fd, buffer, 0, buffer.length, file.offset + at);
    if (length === 0) return;
    at += length;
    yield buffer.subarray(0, length);
  }
}

/** One descriptor for many contents. */
interface SharedFile {
  part(offset: number, size: number): () => OpenFile;
  /** No further parts will be made. */
  release(): void;
}

/** Descriptors of archives whose contents nobody wants any more, when some of them were never read. */
const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));

/** Closed when all parts were opened and closed again; or when nothing refers to a part any more. */
function sharedFile(fd: number): SharedFile {
  const owner = { uses: 1 };
  forgotten.register(owner, fd, owner);
  const drop = (): void => {
    owner.uses -= 1;
    if (owner.uses > 0) return;
    forgotten.unregister(owner);
    closeSync(fd);
  };
  return {
    part(offset, size) {
      owner.uses += 1;
      let isOpen = true;
      const close = (): void => {
        if (isOpen) drop();
        isOpen = false;
      };
      return () => ({ fd, offset, size, close });
    },
    release: drop,
  };
}
