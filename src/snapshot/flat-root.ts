import { closeSync, constants, linkSync, lstatSync, mkdirSync, openSync, readSync } from "node:fs";
import { ftruncateSync, renameSync, symlinkSync, unlinkSync, writeSync } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { fsPath, joinPath, ROOT } from "../fs/index.js";
import type { BytePath, OpenFile, TreeEntry } from "../fs/index.js";
import { applyAttributes, makeNode } from "./attributes.js";
import type { TreeFlavour } from "./attributes.js";
import { CHUNK } from "./chunk.js";
import { openDirStack } from "./dir-stack.js";
import type { DirStack } from "./dir-stack.js";
import { layerXattrs, shown } from "./layer-names.js";
import type { LayerView } from "./layer-view.js";
import type { SpaceGuard } from "./pump.js";
import type { StackView } from "./view.js";

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export interface FlatRoot {
  /** An existing directory that nobody else changes. */
  readonly dir: string;
  /** An existing directory on the same file system for directories that are replaced; its owner empties it. */
  readonly trash: string;
  readonly view: StackView;
  readonly flavour: TreeFlavour;
  readonly guard: SpaceGuard;
}

interface Writing extends FlatRoot {
  readonly dirs: DirStack;
  /** The first name of each file that has several. */
  readonly links: Map<string, BytePath>;
  readonly linkDirs: DirStack;
  readonly buffer: Buffer;
  trashed: number;
}

/** A directory whose names are still to be written. */
interface Pending {
  readonly entry: TreeEntry;
  /** Names to look at, the next one last. */
  readonly names: string[];
  /** The layers that change something in a directory that is there already; undefined in a new one, which is written whole. */
  readonly news: readonly LayerView[] | undefined;
}

/**
 * Writes a stack into a directory: all of it, or, when the directory holds the stack without its topmost layers (`news`,
 * topmost first), only what these say. Yields after each file or so. Throws `io`, `no-space`.
 */
export function* writeFlatRoot(root: FlatRoot, news?: readonly LayerView[]): Generator<void> {
  using dirs = openDirStack(root.dir);
  using linkDirs = openDirStack(root.dir);
  const writing: Writing = {
    ...root,
    dirs,
    linkDirs,
    links: new Map(),
    buffer: Buffer.allocUnsafe(CHUNK),
    trashed: 0,
  };
  const top = root.view.find(ROOT)?.entry;
  if (!top) throw new Error("a root file system without a root");
  const stack: Pending[] = [pendingOf(writing, top, news)];
  for (let level = stack.at(-1); level; level = stack.at(-1)) {
    const name = level.names.pop();
    if (name === undefined) {
      stack.pop();
      attempt(level.entry.path, () => finishDirectory(writing, level.entry));
      continue;
    }
    const path = joinPath(level.entry.path, name);
    const below = attempt(path, () => place(writing, level, path, name));
    if (below) stack.push(below);
    yield;
  }
}

function attempt<T>(path: BytePath, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw errnoOf(error) === undefined ? error : ioError("write", shown(path), error);
  }
}

function pendingOf({ view }: Writing, entry: TreeEntry, news: readonly LayerView[] | undefined): Pending {
  const names = news
    ? [...new Set(news.flatMap((layer) => [...layer.names(entry.path)]))].toSorted()
    : view.list(entry.path);
  return { entry, names: names.toReversed(), news };
}

/** Makes a name what it is to be; a directory's content is the caller's business. */
function place(writing: Writing, level: Pending, path: BytePath, name: string): Pending | undefined {
  const { view, dirs } = writing;
  const entry = view.find(path)?.entry;
  const at = (): string => dirs.at(level.entry.path, name);
  const news = level.news && entry?.type === "dir" ? layersIn(level.news, path) : undefined;
  const stays = news !== undefined && entry !== undefined && isLikeEnough(writing, at(), entry);
  if (level.news && !stays) discard(writing, at());
  if (!entry) return undefined;
  if (entry.type !== "dir") {
    create(writing, at(), entry);
    return undefined;
  }
  if (!stays) mkdirSync(fsPath(at()), { mode: 0o700 });
  return pendingOf(writing, entry, stays ? news : undefined);
}

/** A directory, without extended attributes that the entry does not give it: nothing here takes any away. */
function isLikeEnough({ flavour }: Writing, at: string, entry: TreeEntry): boolean {
  if (lstatSync(fsPath(at), { throwIfNoEntry: false })?.isDirectory() !== true) return false;
  const there = layerXattrs(flavour.syscalls().xattrs(at));
  return [...there.keys()].every((name) => entry.xattrs?.has(name) === true);
}

function discard(writing: Writing, at: string): void {
  try {
    unlinkSync(fsPath(at));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT") return;
    if (errno !== "EISDIR" && errno !== "EPERM") throw error;
    writing.trashed += 1;
    renameSync(fsPath(at), `${writing.trash}/${writing.trashed}`);
  }
}

/** The layers that have a directory here, when what lies below them shows through all of them. */
function layersIn(layers: readonly LayerView[], path: BytePath): readonly LayerView[] | undefined {
  const found: LayerView[] = [];
  for (const layer of layers) {
    const word = layer.word(path);
    if (!word) continue;
    if (word.kind === "whiteout" || word.opaque || word.entry.type !== "dir") return undefined;
    found.push(layer);
  }
  return found;
}

function create(writing: Writing, at: string, entry: TreeEntry): void {
  const { flavour, links, linkDirs } = writing;
  const first = entry.linkId === undefined ? undefined : links.get(entry.linkId);
  if (first !== undefined) {
    const slash = first.lastIndexOf("/");
    const source = linkDirs.at(first.slice(0, Math.max(0, slash)) as BytePath, first.slice(slash + 1));
    linkSync(fsPath(source), fsPath(at));
    return;
  }
  if (entry.linkId !== undefined) links.set(entry.linkId, entry.path);
  if (entry.type === "file") return createFile(writing, at, entry);
  if (entry.type === "symlink") symlinkSync(fsPath(entry.target ?? ""), fsPath(at));
  else {
    const standsIn = makeNodeOrFile(at, entry, flavour);
    if (standsIn === "plain") return;
    applyAttributes({ path: at, standsIn }, entry, flavour);
    return;
  }
  applyAttributes({ path: at }, entry, flavour);
}

/** Where devices may not be made, an empty file keeps the name taken: it belongs to no layer, since nobody changes it. */
function makeNodeOrFile(at: string, entry: TreeEntry, flavour: TreeFlavour): boolean | "plain" {
  try {
    return makeNode(at, entry, flavour);
  } catch (error) {
    if (errnoOf(error) !== "EPERM") throw error;
    closeSync(openSync(fsPath(at), CREATE, 0o600));
    return "plain";
  }
}

function createFile(writing: Writing, at: string, entry: TreeEntry): void {
  const { view, guard, buffer, flavour } = writing;
  guard(entry.size);
  const fd = openSync(fsPath(at), CREATE, 0o600);
  try {
    if (entry.size > 0) copy(view.open(entry), fd, buffer, entry);
    applyAttributes({ path: at, fd }, entry, flavour);
  } finally {
    closeSync(fd);
  }
}

/** Pieces of zeros become holes. */
function copy(from: OpenFile, fd: number, buffer: Buffer, entry: TreeEntry): void {
  try {
    for (let at = 0; at < from.size;) {
      const length = readSync(from.fd, buffer, 0, Math.min(buffer.length, from.size - at), from.offset + at);
      if (length === 0) throw new CooperError("context", `${shown(entry.path)} is no longer what it was`);
      const piece = buffer.subarray(0, length);
      const isHole = length === buffer.length && piece[0] === 0 && piece.every((byte) => byte === 0);
      for (let done = 0; done < length && !isHole;)
        done += writeSync(fd, piece, done, length - done, at + done);
      at += length;
    }
    ftruncateSync(fd, from.size);
  } finally {
    from.close();
  }
}

/** After its content: making something in a directory changes its time. */
function finishDirectory({ dirs, flavour }: Writing, entry: TreeEntry): void {
  const fd = dirs.enter(entry.path);
  applyAttributes({ path: `/proc/self/fd/${fd}/.`, fd }, entry, flavour);
}
