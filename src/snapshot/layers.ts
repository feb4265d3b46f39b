import { closeSync, ftruncateSync, fstatSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import { CooperError, hasCode, ioError } from "../errors.js";
import type { LayerFacts, LayerHome } from "../fs/index.js";
import { hexOf } from "../image/index.js";
import type { DiffId } from "../image/index.js";
import type { TreeFlavour } from "./attributes.js";
import { extractInto } from "./extract.js";
import { formPath, readFacts } from "./facts.js";
import type { LayerIndex } from "./layer-index.js";
import { createLayerIndex } from "./layer-index.js";
import { fileChunks, unwrapped } from "./layer-stream.js";
import type { SpaceGuard } from "./pump.js";
import { diffHash, pump, spaceGuard } from "./pump.js";
import { scanTree } from "./scan.js";
import { createTarParser } from "./tar-parser.js";
import type { TarParser, TarVisitor } from "./tar-parser.js";
import { CHUNK } from "./chunk.js";
import { writeTar } from "./tar-writer.js";
import type { Change } from "./types.js";

const ZEROS = Buffer.alloc(CHUNK);

/** Registered layers and their forms. Forms are made once, also when several ask at the same time. */
export interface Layers {
  readonly home: LayerHome;
  readonly flavour: TreeFlavour;
  /** Undefined when the layer is not registered, or known only by a blob that nobody has read yet. */
  facts(diffId: DiffId): LayerFacts | undefined;
  remember(diffId: DiffId, facts: LayerFacts): void;
  /** Path of the layer's tree or tar, made when missing. Throws `not-found`, `corrupt`, `unsupported`, `no-space`, `io`, `aborted`. */
  tree(diffId: DiffId, signal?: AbortSignal): Promise<string>;
  tar(diffId: DiffId, signal?: AbortSignal): Promise<string>;
  /** The path of a form that is there already. */
  existing(diffId: DiffId, form: "tree" | "tar"): string | undefined;
  /** Headers of the layer's tar, kept in memory. */
  index(diffId: DiffId, signal?: AbortSignal): Promise<LayerIndex>;
  /** The tar's bytes, from whatever form there is, checked against the DiffId at their end. Each chunk is the reader's own. */
  bytes(diffId: DiffId): AsyncGenerator<Buffer, void>;
}

/** Indexes of so many layers stay in memory. */
const MAX_INDEXES = 32;

export function openLayers(home: LayerHome, flavour: TreeFlavour): Layers {
  const known = new Map<DiffId, LayerFacts>();
  const making = new Map<string, Promise<string>>();
  const indexes = new Map<DiffId, Promise<LayerIndex>>();
  const existing = (diffId: DiffId, form: "tree" | "tar"): string | undefined =>
    formPath(home.dir(diffId), form);

  function facts(diffId: DiffId): LayerFacts | undefined {
    const dir = home.dir(diffId);
    if (dir === undefined) return undefined;
    const found = known.get(diffId) ?? readFacts(dir);
    if (found) known.set(diffId, found);
    return found;
  }

  function remember(diffId: DiffId, found: LayerFacts): void {
    known.set(diffId, found);
  }

  function form(diffId: DiffId, kind: "tree" | "tar", signal: AbortSignal | undefined): Promise<string> {
    const there = existing(diffId, kind);
    if (there !== undefined) return Promise.resolve(there);
    const key = `${kind} ${diffId}`;
    const running = making.get(key);
    if (running) {
      // Whoever began may give up; that is no reason for us to.
      return running.catch((error: unknown) => {
        if (!hasCode(error, "aborted") || signal?.aborted === true) throw error;
        return form(diffId, kind, signal);
      });
    }
    const made = (kind === "tree" ? makeTree : makeTar)(layers, diffId, signal)
      .then((found) => {
        remember(diffId, found);
        const path = existing(diffId, kind);
        if (path === undefined) throw new Error(`${kind} of ${diffId} was adopted and is not there`);
        return path;
      })
      .finally(() => making.delete(key));
    making.set(key, made);
    return made;
  }

  const layers: Layers = {
    home,
    flavour,
    facts,
    remember,
    existing,
    tree: (diffId, signal) => form(diffId, "tree", signal),
    tar: (diffId, signal) => form(diffId, "tar", signal),
    index(diffId, signal) {
      const found = indexes.get(diffId);
      if (found) return found;
      const made = layers.tar(diffId, signal).then((path) => indexTar(path, layerName(diffId)));
      made.catch(() => indexes.delete(diffId));
      indexes.set(diffId, made);
      const oldest = indexes.keys().next().value;
      if (indexes.size > MAX_INDEXES && oldest !== undefined) indexes.delete(oldest);
      return made;
    },
    bytes: (diffId) => verifiedBytes(layers, diffId),
  };
  return layers;
}

/** How a layer is named in messages. */
export function layerName(diffId: DiffId): string {
  return `layer ${hexOf(diffId).slice(0, 12)}`;
}

async function* verifiedBytes(layers: Layers, diffId: DiffId): AsyncGenerator<Buffer, void> {
  const hash = diffHash();
  for await (const chunk of unverifiedBytes(layers, diffId)) {
    hash.update(chunk);
    yield chunk;
  }
  hash.verify(diffId, layerName(diffId));
}

function unverifiedBytes(layers: Layers, diffId: DiffId): Iterable<Buffer> | AsyncIterable<Buffer> {
  const tar = layers.existing(diffId, "tar");
  if (tar !== undefined) return fileChunks(tar, false);
  const blob = layers.home.blob(diffId);
  if (blob) return unwrapped(layers.home.readBlob(blob), layerName(diffId));
  const tree = layers.existing(diffId, "tree");
  if (tree !== undefined) return copies(writeTar(changesOf(layers, diffId, tree)).chunks);
  throw new CooperError("not-found", `${layerName(diffId)} is not in the store`);
}

function* copies(chunks: Iterable<Buffer>): Generator<Buffer, void> {
  for (const chunk of chunks) yield Buffer.from(chunk);
}

/** The changes of a registered layer as its tree has them. */
function changesOf(layers: Layers, diffId: DiffId, tree: string): Iterable<Change> {
  const facts = layers.facts(diffId);
  // The tree's root directory is there for a tar without entries, too.
  if (facts?.hasEntries === false) return [];
  const implicit = new Set(facts?.implicitDirs ?? []);
  return scanTree(tree, {
    flavour: layers.flavour,
    implicit: (path) => implicit.has(path),
    mayHaveXattrs: () => true,
  });
}

async function makeTree(
  layers: Layers,
  diffId: DiffId,
  signal: AbortSignal | undefined,
): Promise<LayerFacts> {
  const what = layerName(diffId);
  await using staged = layers.home.stage();
  const tree = `${staged.path}/tree`;
  const trash = `${staged.path}/trash`;
  try {
    mkdirSync(tree, { mode: 0o700 });
    mkdirSync(trash, { mode: 0o700 });
  } catch (error) {
    throw ioError("make", tree, error);
  }
  const guard = spaceGuard(staged.path, what);
  using extraction = extractInto(tree, trash, what, layers.flavour);
  const parser = createTarParser(extraction.visitor, what);
  const hash = diffHash();
  const tar = layers.existing(diffId, "tar");
  await pump(
    tar === undefined ? unverifiedBytes(layers, diffId) : fileChunks(tar, true),
    (chunk) => {
      guard(chunk.length);
      hash.update(chunk);
      parser.push(chunk);
    },
    signal,
  );
  parser.end();
  hash.verify(diffId, what);
  const facts = extraction.finish(hash.size);
  layers.home.adopt(diffId, "tree", tree, facts);
  return facts;
}

async function makeTar(layers: Layers, diffId: DiffId, signal: AbortSignal | undefined): Promise<LayerFacts> {
  const what = layerName(diffId);
  await using staged = layers.home.stage();
  const index = createLayerIndex(what);
  const parser = createTarParser({ member: (member) => void index.add(member) }, what);
  const hash = diffHash();
  const path = `${staged.path}/tar`;
  const guard = spaceGuard(staged.path, what);
  const out = createOutput(path, guard);
  try {
    await pump(
      unverifiedBytes(layers, diffId),
      (chunk) => {
        hash.update(chunk);
        parser.push(chunk);
        out.write(chunk);
      },
      signal,
    );
    parser.end();
    out.end();
  } finally {
    out.close();
  }
  hash.verify(diffId, what);
  const facts = index.facts(hash.size);
  layers.home.adopt(diffId, "tar", path, facts);
  return facts;
}

/** A file being written from its start to its end; runs of zeros become holes. */
export interface Output {
  write(chunk: Buffer): void;
  /** After the last chunk. */
  end(): void;
  close(): void;
}

/** Makes a new file (0600). All functions throw `io` or `no-space`. */
export function createOutput(path: string, guard: SpaceGuard): Output {
  let position = 0;
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw ioError("write", path, error);
    }
  };
  const fd = attempt(() => openSync(path, "wx", 0o600));
  return {
    write(chunk) {
      guard(chunk.length);
      const isHole = chunk.length === CHUNK && chunk[0] === 0 && chunk.equals(ZEROS);
      for (let at = 0; at < chunk.length && !isHole;) {
        at += attempt(() => writeSync(fd, chunk, at, chunk.length - at, position + at));
      }
      position += chunk.length;
    },
    end: () => attempt(() => ftruncateSync(fd, position)),
    close: () => closeSync(fd),
  };
}

/** Reads the headers of a tar file, leaving its contents out. Throws `corrupt`, `unsupported`, `io`. */
export function skimTar(path: string, visitor: Pick<TarVisitor, "member">, what: string): void {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw ioError("open", path, error);
  }
  try {
    skimFrom({ fd, offset: 0, size: fstatSync(fd).size }, createTarParser(visitor, what), what);
  } finally {
    closeSync(fd);
  }
}

/** The same for `size` bytes at `offset` of a descriptor. */
export function skimFrom(
  file: { readonly fd: number; readonly offset: number; readonly size: number },
  parser: TarParser,
  what: string,
): void {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = 0; at < file.size;) {
    const length = readSync(file.fd, buffer, 0, Math.min(CHUNK, file.size - at), file.offset + at);
    if (length === 0) throw new CooperError("context", `${what} changed while it was read`);
    parser.push(buffer.subarray(0, length));
    at += length;
    const skip = parser.skippable;
    if (skip === Number.MAX_SAFE_INTEGER) break;
    if (skip > file.size - at)
      throw new CooperError("corrupt", `${what}: the tar ends in the middle of an entry`);
    parser.skipped(skip);
    at += skip;
  }
  parser.end();
}

function indexTar(path: string, what: string): LayerIndex {
  const index = createLayerIndex(what);
  skimTar(path, { member: (member) => void index.add(member) }, what);
  index.facts(0);
  return index;
}
