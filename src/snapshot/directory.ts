import { lstatSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { ioError, errnoOf, CooperError } from "../errors.js";
import { fsPath, monotonicMs, parentOf, removeTree, ROOT } from "../fs/index.js";
import type { BytePath, StagedDirectory, TreeEntry } from "../fs/index.js";
import type { DiffId } from "../image/index.js";
import { withoutStandIn } from "./attributes.js";
import type { TreeFlavour } from "./attributes.js";
import { deepPaths } from "./deep-paths.js";
import type { DeepPaths } from "./deep-paths.js";
import { writeFlatRoot } from "./flat-root.js";
import { layerXattrs, shown } from "./layer-names.js";
import { openLayerView } from "./layer-view.js";
import type { DigestMemory, LayerView } from "./layer-view.js";
import type { Layers } from "./layers.js";
import { readMetadata, withRootAgain } from "./metadata.js";
import type { Difference, Metadata } from "./metadata.js";
import { spaceGuard, throwIfAborted } from "./pump.js";
import { distinctLayers, looksLike, retimed } from "./rootfs.js";
import { entryOf, openEntry, removeQuietly } from "./scan.js";
import type { Change, DirectoryRootfs, LayerInfo } from "./types.js";
import { openStackView } from "./view.js";

/** So many directories wait for the next step of their stage; each is a whole root file system on the disk. */
const MAX_IDLE = 4;
const SLICE_MS = 20;

/** Root file systems that are changed where they lie. */
export interface Directories extends AsyncDisposable {
  prepare(diffIds: readonly DiffId[], signal: AbortSignal | undefined): Promise<DirectoryRootfs>;
  commit(rootfs: DirectoryRootfs, retime: ((mtimeNs: bigint) => bigint) | undefined): Promise<LayerInfo>;
}

/** One root file system on the disk. */
interface LiveRoot {
  readonly staged: StagedDirectory;
  readonly dir: string;
  /** Exactly these layers are in it. */
  stack: readonly DiffId[];
  /** What it looks like; undefined when something was changed since it was read. */
  metadata: Metadata | undefined;
}

interface Prepared {
  readonly live: LiveRoot;
  readonly before: Metadata;
  readonly root: TreeEntry;
  readonly restored: Map<number, number>;
}

export function openDirectories(
  layers: Layers,
  memory: DigestMemory,
  write: (changes: Iterable<Change>) => Promise<LayerInfo>,
): Directories {
  const idle: LiveRoot[] = [];
  const prepared = new WeakMap<DirectoryRootfs, Prepared>();
  const remove = async (live: LiveRoot | undefined): Promise<void> =>
    live?.staged[Symbol.asyncDispose]() as Promise<void>;

  async function prepare(
    diffIds: readonly DiffId[],
    signal: AbortSignal | undefined,
  ): Promise<DirectoryRootfs> {
    const live = takeNearest(idle, diffIds) ?? newRoot(layers);
    try {
      await bringTo(layers, live, diffIds, memory, signal);
      const before = (live.metadata ??= readMetadata(live.dir).now);
      outlast(`${live.staged.path}/clock`, before.youngest);
      const root = rootOf(live.dir, layers.flavour);
      const restored = new Map<number, number>();
      const rootfs: DirectoryRootfs = {
        kind: "directory",
        dir: live.dir,
        restored: (files) => {
          for (const { inode, changed } of files) restored.set(Number(inode), asLstat(BigInt(changed)));
        },
        // Committed, it waits for the next step already.
        [Symbol.asyncDispose]: () => (prepared.delete(rootfs) ? letGo(live, before) : Promise.resolve()),
      };
      prepared.set(rootfs, { live, before, root, restored });
      return rootfs;
    } catch (error) {
      await remove(live);
      throw errnoOf(error) === undefined ? error : ioError("prepare", live.dir, error);
    }
  }

  /** What nobody changed (the source of a mount, say) is as good as new. */
  async function letGo(live: LiveRoot, before: Metadata): Promise<void> {
    if (readMetadata(live.dir, before).differences.length > 0) return remove(live);
    return keep(live);
  }

  async function keep(live: LiveRoot): Promise<void> {
    idle.push(live);
    if (idle.length > MAX_IDLE) await remove(idle.shift());
  }

  async function commit(
    rootfs: DirectoryRootfs,
    retime: ((mtimeNs: bigint) => bigint) | undefined,
  ): Promise<LayerInfo> {
    const from = prepared.get(rootfs);
    if (!from) throw new Error("commit of a rootfs that was not prepared here, or committed before");
    const { live, before, root, restored } = from;
    const { now, differences } = readMetadata(live.dir, before, restored);
    const sockets: BytePath[] = [];
    using paths = deepPaths(live.dir);
    const changes = changesOf(paths, differences, { root, flavour: layers.flavour, sockets });
    const layer = await write(retime ? retimed(changes, live.dir, layers.flavour, retime) : changes);
    removeQuietly(live.dir, sockets, layers.flavour);
    prepared.delete(rootfs);
    live.stack = [...live.stack, layer.diffId];
    const isRootNews = differences.length > 0 && !looksLike(rootOf(live.dir, layers.flavour), root);
    live.metadata = retime || sockets.length > 0 ? undefined : now;
    if (!isRootNews) live.metadata = withOldRootTime(live, root, layers.flavour);
    await keep(live);
    return layer;
  }

  return {
    prepare,
    commit,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(idle.splice(0).map(remove));
    },
  };
}

/** Nanoseconds as the doubles of lstat have them, to the last bit. */
function asLstat(ns: bigint): number {
  return Number(ns / 1_000_000_000n) * 1e3 + Number(ns % 1_000_000_000n) / 1e6;
}

function newRoot(layers: Layers): LiveRoot {
  const staged = layers.home.stage();
  const dir = `${staged.path}/root`;
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    throw ioError("make", dir, error);
  }
  return { staged, dir, stack: [], metadata: undefined };
}

/** The idle root with the longest stack that is a beginning of the one wanted. */
function takeNearest(idle: LiveRoot[], diffIds: readonly DiffId[]): LiveRoot | undefined {
  const fitting = idle.filter(({ stack }) => stack.every((diffId, at) => diffIds[at] === diffId));
  const nearest = fitting.toSorted((a, b) => b.stack.length - a.stack.length)[0];
  if (nearest) idle.splice(idle.indexOf(nearest), 1);
  return nearest;
}

async function bringTo(
  layers: Layers,
  live: LiveRoot,
  diffIds: readonly DiffId[],
  memory: DigestMemory,
  signal: AbortSignal | undefined,
): Promise<void> {
  const distinct = distinctLayers(layers, diffIds);
  const further = distinctLayers(layers, diffIds.slice(live.stack.length));
  const isNew = live.stack.length === 0;
  live.stack = diffIds;
  if (further.length === 0 && !isNew) return;
  live.metadata = undefined;
  using view = await openStackView(layers, distinct, memory);
  const news: LayerView[] = [];
  try {
    if (!isNew)
      for (const diffId of further.toReversed()) news.push(await openLayerView(layers, diffId, memory));
    const guard = spaceGuard(live.staged.path, "the root file system");
    let since = monotonicMs();
    const trash = `${live.staged.path}/trash`;
    mkdirSync(trash, { recursive: true, mode: 0o700 });
    const root = { dir: live.dir, trash, view, flavour: layers.flavour, guard };
    for (const _ of writeFlatRoot(root, isNew ? undefined : news)) {
      if (monotonicMs() - since < SLICE_MS) continue;
      await setImmediate();
      throwIfAborted(signal);
      since = monotonicMs();
    }
    await removeTree(trash);
  } finally {
    for (const layer of news) layer[Symbol.dispose]();
  }
}

/** Returns when a change would get a later time than `youngest` (ms): the kernel's clock may stand still for some ms. */
function outlast(probe: string, youngest: number): void {
  try {
    writeFileSync(probe, "");
    const give = new Int32Array(new SharedArrayBuffer(4));
    for (let mode = 0; lstatSync(probe).ctimeMs <= youngest; mode += 1) {
      Atomics.wait(give, 0, 0, 1);
      utimesSync(probe, mode, mode);
    }
  } catch (error) {
    throw ioError("write", probe, error);
  }
}

function rootOf(dir: string, flavour: TreeFlavour): TreeEntry {
  using paths = deepPaths(dir);
  return entryAt(paths, ROOT, flavour);
}

/** The root is in no layer for its time alone, so the next step has to find it with the time it had. */
function withOldRootTime(live: LiveRoot, root: TreeEntry, flavour: TreeFlavour): Metadata | undefined {
  flavour.syscalls().setTime(live.dir, root.mtimeNs);
  return live.metadata && withRootAgain(live.metadata, live.dir);
}

/** One entry with its extended attributes. */
function entryAt(paths: DeepPaths, path: BytePath, flavour: TreeFlavour): TreeEntry {
  const fsName = paths.of(path);
  try {
    const entry = entryOf(path, lstatSync(fsPath(fsName), { bigint: true }), fsName);
    if (!entry) throw new CooperError("unsupported", `${shown(path)} is a character device 0:0`);
    const xattrs = flavour.syscalls().xattrs(fsName);
    const kept = layerXattrs(xattrs);
    const real = flavour.userNamespace ? withoutStandIn(entry, xattrs) : entry;
    return kept.size === 0 ? real : { ...real, xattrs: kept };
  } catch (error) {
    throw errnoOf(error) === undefined ? error : ioError("read", shown(path), error);
  }
}

/** Differences as a layer has them: each directory above one has an entry, as an overlay's upper directory would. */
function* changesOf(
  paths: DeepPaths,
  differences: readonly Difference[],
  context: {
    readonly root: TreeEntry;
    readonly flavour: TreeFlavour;
    readonly sockets: BytePath[];
  },
): Generator<Change, void> {
  const told = new Set<BytePath>();
  for (const { path, kind } of differences) {
    for (const dir of untoldAbove(path, told)) yield* changeAt(paths, dir, "changed", context);
    if (kind === "gone") yield { kind: "whiteout", path };
    else if (!told.has(path)) yield* changeAt(paths, path, kind, context);
    told.add(path);
  }
}

/** Topmost first. */
function untoldAbove(path: BytePath, told: Set<BytePath>): readonly BytePath[] {
  const dirs: BytePath[] = [];
  for (let at = path; at !== ROOT && !told.has(parentOf(at)); at = parentOf(at)) {
    dirs.unshift(parentOf(at));
    told.add(parentOf(at));
  }
  return dirs;
}

function* changeAt(
  paths: DeepPaths,
  path: BytePath,
  kind: "new" | "changed",
  {
    root,
    flavour,
    sockets,
  }: { readonly root: TreeEntry; readonly flavour: TreeFlavour; readonly sockets: BytePath[] },
): Generator<Change, void> {
  const entry = entryAt(paths, path, flavour);
  if (path === ROOT && looksLike(entry, root)) return;
  if (entry.type === "socket") {
    // A tar has no type for it: what was there before is gone all the same.
    sockets.push(path);
    if (kind === "changed") yield { kind: "whiteout", path };
  } else if (entry.type === "file")
    yield { kind: "add", entry, content: () => openEntry(paths.of(path), entry) };
  else yield { kind: "add", entry };
}
