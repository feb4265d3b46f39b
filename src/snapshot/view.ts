import { CooperError } from "../errors.js";
import { joinPath, parentOf, ROOT } from "../fs/index.js";
import type { BytePath, FileTree, TreeEntry } from "../fs/index.js";
import type { DiffId } from "../image/index.js";
import { IMPLICIT } from "./extract.js";
import type { DigestMemory, LayerView } from "./layer-view.js";
import { openLayerView } from "./layer-view.js";
import { shown } from "./layer-names.js";
import type { Layers } from "./layers.js";

/** A stack of layers read without a mount. */
export interface StackView extends FileTree, Disposable {
  /** As `lstat`; `explicit` is false for a directory that no layer has an entry for, so that its attributes are made up. */
  find(path: BytePath): { readonly entry: TreeEntry; readonly explicit: boolean } | undefined;
}

/** Layers that have a directory at one path, topmost first, up to the one that hides the rest. */
interface MergedDir {
  readonly layers: readonly LayerView[];
  /** The topmost layer that speaks of each name; made when the directory is listed. */
  names?: ReadonlyMap<string, LayerView>;
}

const NO_DIR: MergedDir = { layers: [] };

/** Opens the stack (oldest first; each layer once; those without entries left out). Throws `not-found`, `corrupt`, `io`. */
export async function openStackView(
  layers: Layers,
  diffIds: readonly DiffId[],
  memory: DigestMemory,
): Promise<StackView> {
  const views: LayerView[] = [];
  try {
    for (const diffId of diffIds.toReversed()) views.push(await openLayerView(layers, diffId, memory));
  } catch (error) {
    for (const view of views) view[Symbol.dispose]();
    throw error;
  }
  return stackView(views);
}

/** As overlayfs merges them: the topmost layer decides, whiteouts and opaque directories hide, directories merge. */
function stackView(views: readonly LayerView[]): StackView {
  const dirs = new Map<BytePath, MergedDir>();
  const owners = new WeakMap<TreeEntry, LayerView>();

  function dirAt(path: BytePath): MergedDir {
    const known = dirs.get(path);
    if (known) return known;
    const candidates = path === ROOT ? views : dirAt(parentOf(path)).layers;
    const found = mergeDir(candidates, path);
    dirs.set(path, found);
    return found;
  }

  function find(path: BytePath): { readonly entry: TreeEntry; readonly explicit: boolean } | undefined {
    const parent = path === ROOT ? { layers: views } : dirAt(parentOf(path));
    const layers = speakersOf(parent, path);
    let implicit: TreeEntry | undefined;
    for (const layer of layers) {
      const word = layer.word(path);
      if (!word) continue;
      if (word.kind === "whiteout" || (implicit && word.entry.type !== "dir")) break;
      if (word.explicit) {
        owners.set(word.entry, layer);
        return { entry: word.entry, explicit: true };
      }
      implicit ??= word.entry;
    }
    if (!implicit && path !== ROOT) return undefined;
    return { entry: { path, ...IMPLICIT }, explicit: false };
  }

  function ownerOf(entry: TreeEntry): LayerView {
    const known = owners.get(entry);
    if (known) return known;
    const found = find(entry.path);
    const owner = found && owners.get(found.entry);
    if (!owner || found.entry.type !== entry.type)
      throw new CooperError("context", `${shown(entry.path)} is no longer what it was`);
    return owner;
  }

  return {
    find,
    lstat: (path) => find(path)?.entry,
    list: (path) => listDir(dirAt(path), path),
    open: (entry) => ownerOf(entry).open(entry),
    digest: (entry) => ownerOf(entry).digest(entry),
    [Symbol.dispose]() {
      for (const view of views) view[Symbol.dispose]();
    },
  };
}

function mergeDir(candidates: readonly LayerView[], path: BytePath): MergedDir {
  const layers: LayerView[] = [];
  for (const layer of candidates) {
    const word = layer.word(path);
    if (!word) continue;
    if (word.kind === "whiteout" || word.entry.type !== "dir") break;
    layers.push(layer);
    if (word.opaque) break;
  }
  return layers.length === 0 ? NO_DIR : { layers };
}

/** The layers to ask for a path, topmost first; only those from the first that knows the name when the directory was listed. */
function speakersOf(parent: MergedDir, path: BytePath): readonly LayerView[] {
  if (!parent.names) return parent.layers;
  const first = parent.names.get(path.slice(path.lastIndexOf("/") + 1));
  return first ? parent.layers.slice(parent.layers.indexOf(first)) : [];
}

function listDir(dir: MergedDir, path: BytePath): readonly string[] {
  const names = new Map<string, LayerView>();
  for (const layer of dir.layers) {
    for (const name of layer.names(path)) if (!names.has(name)) names.set(name, layer);
  }
  if (dir !== NO_DIR) dir.names = names;
  const found: string[] = [];
  for (const [name, layer] of names) if (layer.word(joinPath(path, name))?.kind === "entry") found.push(name);
  return found.toSorted();
}
