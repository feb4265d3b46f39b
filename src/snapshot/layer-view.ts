import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { fsPath } from "../fs/index.js";
import type { BytePath, LayerFacts, OpenFile, TreeEntry } from "../fs/index.js";
import { digestFromHex, hexOf } from "../image/index.js";
import type { Digest, DiffId } from "../image/index.js";
import { deepPaths } from "./deep-paths.js";
import { IMPLICIT } from "./extract.js";
import type { LayerIndex, LayerNode } from "./layer-index.js";
import { shown } from "./layer-names.js";
import type { Layers } from "./layers.js";
import { openEntry, readNode } from "./scan.js";
import { CHUNK } from "./chunk.js";

/** What one layer says of a path. */
export type LayerWord =
  | { readonly kind: "whiteout" }
  /** `explicit` is false for a directory that the layer's tar has no entry for; `opaque`: lower layers are hidden in it. */
  | {
      readonly kind: "entry";
      readonly entry: TreeEntry;
      readonly explicit: boolean;
      readonly opaque: boolean;
    };

/** One layer, read without a mount. The caller asks only for paths whose parents are directories of this same layer. */
export interface LayerView extends Disposable {
  word(path: BytePath): LayerWord | undefined;
  /** Names that the layer has in a directory, whiteouts' hidden names among them; in no order. */
  names(path: BytePath): Iterable<string>;
  open(entry: TreeEntry): OpenFile;
  digest(entry: TreeEntry): Digest;
}

/** Digests of files by layer, kept for the life of the snapshotter: layers never change. */
export type DigestMemory = Map<DiffId, Map<BytePath, Digest>>;

/** Opens a layer by its tree when there is one, else by the headers of its tar. */
export async function openLayerView(
  layers: Layers,
  diffId: DiffId,
  memory: DigestMemory,
): Promise<LayerView> {
  let digests = memory.get(diffId);
  if (!digests) memory.set(diffId, (digests = new Map()));
  const tree = layers.existing(diffId, "tree");
  if (tree !== undefined) return treeView(layers, diffId, tree, digests);
  const index = await layers.index(diffId);
  return indexView(index, await layers.tar(diffId), diffId, digests);
}

function linkPrefix(diffId: DiffId): string {
  return hexOf(diffId).slice(0, 16);
}

function treeView(layers: Layers, diffId: DiffId, root: string, digests: Map<BytePath, Digest>): LayerView {
  const { flavour } = layers;
  const facts: Partial<LayerFacts> = layers.facts(diffId) ?? {};
  const implicit = new Set(facts.implicitDirs ?? []);
  const opaque = facts.opaqueDirs && new Set(facts.opaqueDirs);
  const withXattrs = facts.xattrPaths && new Set(facts.xattrPaths);
  // Stand-ins of a rootless tree are attributes that the facts do not know.
  const mayHaveXattrs =
    opaque && withXattrs && !flavour.userNamespace
      ? (path: BytePath): boolean => withXattrs.has(path)
      : (): boolean => true;
  const paths = deepPaths(root);
  const open = (entry: TreeEntry): OpenFile => {
    const file = openEntry(paths.of(entry.path), entry);
    const stats = fstatSync(file.fd);
    if (stats.isFile() && stats.size === entry.size) return file;
    file.close();
    throw changed(entry);
  };
  return {
    word(path) {
      const node = readNode(paths, path, flavour, mayHaveXattrs);
      if (node?.kind !== "entry") return node;
      const entry =
        node.entry.linkId === undefined
          ? node.entry
          : { ...node.entry, linkId: `${linkPrefix(diffId)}:${node.entry.linkId}` };
      return {
        kind: "entry",
        entry,
        explicit: !implicit.has(path),
        opaque: opaque ? opaque.has(path) : node.opaque,
      };
    },
    names(path) {
      try {
        return readdirSync(fsPath(paths.of(path)), "latin1");
      } catch (error) {
        throw ioError("read", shown(path), error);
      }
    },
    open,
    digest: (entry) => remembered(digests, entry, open),
    [Symbol.dispose]: () => paths[Symbol.dispose](),
  };
}

function indexView(
  index: LayerIndex,
  tar: string,
  diffId: DiffId,
  digests: Map<BytePath, Digest>,
): LayerView {
  const ids = new Map<LayerNode, string>();
  const linkIdOf = (node: LayerNode): string => {
    let id = ids.get(node);
    if (id === undefined) ids.set(node, (id = `${linkPrefix(diffId)}:${ids.size}`));
    return id;
  };
  const open = (entry: TreeEntry): OpenFile => {
    const node = nodeAt(index.root, entry.path);
    if (node?.inode?.type !== "file" || node.inode.size !== entry.size) throw changed(entry);
    return openRange(tar, node.offset, node.inode.size);
  };
  return {
    word(path) {
      const node = nodeAt(index.root, path);
      if (!node) return isWhiteout(index.root, path) ? { kind: "whiteout" } : undefined;
      const entry: TreeEntry = {
        path,
        ...(node.inode ?? IMPLICIT),
        ...(node.links > 1 ? { linkId: linkIdOf(node) } : {}),
      };
      return { kind: "entry", entry, explicit: node.inode !== undefined, opaque: node.opaque };
    },
    *names(path) {
      const node = nodeAt(index.root, path);
      yield* node?.children?.keys() ?? [];
      yield* node?.whiteouts ?? [];
    },
    open,
    digest: (entry) => remembered(digests, entry, open),
    [Symbol.dispose]: () => undefined,
  };
}

function nodeAt(root: LayerNode, path: BytePath): LayerNode | undefined {
  let node: LayerNode | undefined = root;
  if (path === "") return node;
  for (const name of path.split("/")) node = node?.children?.get(name);
  return node;
}

function isWhiteout(root: LayerNode, path: BytePath): boolean {
  const slash = path.lastIndexOf("/");
  return (
    nodeAt(root, path.slice(0, Math.max(0, slash)) as BytePath)?.whiteouts?.has(path.slice(slash + 1)) ===
    true
  );
}

function openRange(path: string, offset: number, size: number): OpenFile {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw ioError("open", path, error);
  }
  return { fd, offset, size, close: () => closeSync(fd) };
}

function changed(entry: TreeEntry): CooperError {
  return new CooperError("context", `${shown(entry.path)} is no longer what it was`);
}

function remembered(
  digests: Map<BytePath, Digest>,
  entry: TreeEntry,
  open: (entry: TreeEntry) => OpenFile,
): Digest {
  const known = digests.get(entry.path);
  if (known !== undefined) return known;
  const found = digestOfFile(open(entry), entry);
  digests.set(entry.path, found);
  return found;
}

function digestOfFile(file: OpenFile, entry: TreeEntry): Digest {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK);
  try {
    for (let at = 0; at < file.size;) {
      const length = readSync(file.fd, buffer, 0, Math.min(CHUNK, file.size - at), file.offset + at);
      if (length === 0) throw changed(entry);
      hash.update(buffer.subarray(0, length));
      at += length;
    }
  } catch (error) {
    throw errnoOf(error) === undefined ? error : ioError("read", shown(entry.path), error);
  } finally {
    file.close();
  }
  return digestFromHex(hash.digest("hex"));
}
