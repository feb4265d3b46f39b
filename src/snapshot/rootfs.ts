import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { availableParallelism } from "node:os";
import { CooperError, ioError } from "../errors.js";
import { fsPath, parentOf, ROOT } from "../fs/index.js";
import type { BytePath, StagedDirectory, TreeEntry } from "../fs/index.js";
import type { DiffId } from "../image/index.js";
import type { TreeFlavour } from "./attributes.js";
import { applyAttributes } from "./attributes.js";
import { deepPaths } from "./deep-paths.js";
import type { DigestMemory } from "./layer-view.js";
import { layerXattrs, shown } from "./layer-names.js";
import type { Layers } from "./layers.js";
import { layerName } from "./layers.js";
import { diffHash, pump } from "./pump.js";
import { removeQuietly, scanTree } from "./scan.js";
import { writeTar } from "./tar-writer.js";
import type { Change, LayerInfo, OverlayRootfs } from "./types.js";
import { openStackView } from "./view.js";

/** What overlayfs stacks at most. Source: Linux fs/overlayfs/params.h, OVL_MAX_STACK. */
const MAX_LAYERS = 500;
/** Trees made at once: while one waits for its decompressor, the other writes. */
const TREES_AT_ONCE = Math.min(2, availableParallelism());

interface Prepared {
  readonly root: TreeEntry;
  readonly staged: StagedDirectory;
}

const prepared = new WeakMap<OverlayRootfs, Prepared>();

/** A stack as overlayfs takes it: each layer once (its topmost place decides all it says), those without entries left out. */
export function distinctLayers(layers: Layers, diffIds: readonly DiffId[]): readonly DiffId[] {
  if (diffIds.length > MAX_LAYERS) {
    throw new CooperError(
      "unsupported",
      `an image of ${diffIds.length} layers; the kernel stacks at most ${MAX_LAYERS}`,
    );
  }
  const last = new Map(diffIds.map((diffId, position) => [diffId, position]));
  return diffIds.filter((diffId, position) => {
    if (layers.home.dir(diffId) === undefined)
      throw new CooperError("not-found", `${layerName(diffId)} is not in the store`);
    return last.get(diffId) === position && layers.facts(diffId)?.hasEntries !== false;
  });
}

/** Makes missing trees, base layers first, and an upper directory with the attributes of the stack's root. */
export async function prepareRootfs(
  layers: Layers,
  diffIds: readonly DiffId[],
  memory: DigestMemory,
  signal: AbortSignal | undefined,
): Promise<OverlayRootfs> {
  const stack = distinctLayers(layers, diffIds);
  const trees = await makeTrees(layers, stack, signal);
  const staged = layers.home.stage();
  try {
    const used = distinctLayers(layers, stack);
    const lowerDirs: string[] = [];
    for (const [position, diffId] of used.entries()) {
      lowerDirs.unshift(trees.get(diffId) ?? "");
      const fixup = await makeFixup(
        layers,
        used.slice(0, position + 1),
        `${staged.path}/fixup${position}`,
        memory,
      );
      if (fixup !== undefined) lowerDirs.unshift(fixup);
    }
    using view = await openStackView(layers, used, memory);
    const root = view.find(ROOT)?.entry;
    if (!root) throw new Error("a root file system without a root");
    const upperDir = `${staged.path}/upper`;
    const workDir = `${staged.path}/work`;
    mkdirSync(upperDir, { mode: 0o700 });
    mkdirSync(workDir, { mode: 0o700 });
    setAttributes(upperDir, root, layers.flavour);
    const rootfs: OverlayRootfs = {
      kind: "overlay",
      lowerDirs,
      upperDir,
      workDir,
      [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose]() as Promise<void>,
    };
    prepared.set(rootfs, { root, staged });
    return rootfs;
  } catch (error) {
    await staged[Symbol.asyncDispose]();
    throw ioError("prepare", staged.path, error);
  }
}

async function makeTrees(
  layers: Layers,
  stack: readonly DiffId[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<DiffId, string>> {
  const trees = new Map<DiffId, string>();
  const pending = stack.toReversed();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let diffId = pending.pop(); diffId !== undefined && !failed; diffId = pending.pop()) {
      try {
        trees.set(diffId, await layers.tree(diffId, signal));
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: TREES_AT_ONCE }, worker));
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return trees;
}

/**
 * A layer whose tar lacks entries for directories it uses would give them made-up attributes (and /tmp would lose its
 * sticky bit): this directory, to be stacked right above it, has them as the layers below do. Undefined when not needed.
 */
async function makeFixup(
  layers: Layers,
  stack: readonly DiffId[],
  path: string,
  memory: DigestMemory,
): Promise<string | undefined> {
  const top = stack.at(-1);
  const implicit =
    top === undefined ? [] : (layers.facts(top)?.implicitDirs ?? []).filter((dir) => dir !== ROOT);
  if (implicit.length === 0) return undefined;
  using view = await openStackView(layers, stack, memory);
  const wanted = new Map<BytePath, TreeEntry>();
  for (const dir of implicit) {
    const found = view.find(dir);
    if (found?.explicit !== true || found.entry.type !== "dir") continue;
    for (let at = dir; at !== ROOT && !wanted.has(at); at = parentOf(at)) {
      const entry = view.lstat(at);
      if (entry) wanted.set(at, entry);
    }
  }
  if (wanted.size === 0) return undefined;
  mkdirSync(path, { mode: 0o755 });
  const dirs = [...wanted.keys()].toSorted();
  for (const dir of dirs) mkdirSync(fsPath(`${path}/${dir}`), { mode: 0o700 });
  // Deepest first: making something in a directory changes its time.
  for (const dir of dirs.toReversed())
    setAttributes(`${path}/${dir}`, wanted.get(dir) as TreeEntry, layers.flavour);
  return path;
}

function setAttributes(dir: string, entry: TreeEntry, flavour: TreeFlavour): void {
  chmodSync(fsPath(dir), 0o700);
  const fd = openSync(fsPath(dir), "r");
  try {
    applyAttributes({ path: dir, fd }, entry, flavour);
  } finally {
    closeSync(fd);
  }
}

/** Reads the upper directory once and renames it to the layer's tree. Throws `io`, `no-space`, `unsupported`. */
export async function commitRootfs(
  layers: Layers,
  rootfs: OverlayRootfs,
  retime?: (mtimeNs: bigint) => bigint,
): Promise<LayerInfo> {
  const from = prepared.get(rootfs);
  if (!from) throw new Error("commit of a rootfs that was not prepared here, or committed before");
  const sockets: BytePath[] = [];
  const changes = upperChanges(rootfs.upperDir, from.root, layers.flavour, sockets);
  const tar = writeTar(retime ? retimed(changes, rootfs.upperDir, layers.flavour, retime) : changes);
  const hash = diffHash();
  await pump(tar.chunks, (chunk) => hash.update(chunk));
  prepared.delete(rootfs);
  // The tree must hold what the tar says, or a pulled copy of the layer would differ from this one.
  removeQuietly(rootfs.upperDir, sockets, layers.flavour);
  const facts = tar.facts();
  const diffId = hash.result();
  layers.home.adopt(diffId, "tree", rootfs.upperDir, facts);
  layers.remember(diffId, facts);
  return { diffId, ...facts };
}

/** The root counts as a change only when it differs from what `prepare` made, apart from its time. */
function* upperChanges(
  upperDir: string,
  root: TreeEntry,
  flavour: TreeFlavour,
  sockets: BytePath[],
): Generator<Change, void> {
  const onSocket = (path: BytePath): void => void sockets.push(path);
  const options = { flavour, implicit: () => false, mayHaveXattrs: () => true, onSocket };
  for (const change of scanTree(upperDir, options)) {
    if (change.kind === "add" && change.entry.path === ROOT && looksLike(change.entry, root)) continue;
    yield change;
  }
}

/** Sets the times in the tree as it is read: reading a directory later does not touch them again. */
export function* retimed(
  changes: Iterable<Change>,
  root: string,
  flavour: TreeFlavour,
  retime: (mtimeNs: bigint) => bigint,
): Generator<Change, void> {
  using paths = deepPaths(root);
  for (const change of changes) {
    const before = change.kind === "add" ? change.entry.mtimeNs : 0n;
    const mtimeNs = retime(before);
    if (change.kind !== "add" || mtimeNs === before) {
      yield change;
      continue;
    }
    const { path } = change.entry;
    try {
      flavour.syscalls().setTime(paths.of(path), mtimeNs);
    } catch (error) {
      throw ioError("set the time of", shown(path), error);
    }
    yield { ...change, entry: { ...change.entry, mtimeNs } };
  }
}

/** The same mode, owner and attributes. */
export function looksLike(a: TreeEntry, b: TreeEntry): boolean {
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid) return false;
  const ours = layerXattrs(a.xattrs ?? new Map());
  const theirs = layerXattrs(b.xattrs ?? new Map());
  return (
    ours.size === theirs.size && [...ours].every(([name, value]) => theirs.get(name)?.equals(value) === true)
  );
}
