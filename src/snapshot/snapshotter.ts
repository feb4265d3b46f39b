import type { Compression, Descriptor, DiffId } from "../image/index.js";
import type { LayerHome, TreeSyscalls } from "../fs/index.js";
import { isArchive, readArchive } from "./archive.js";
import { makeBlob, readable } from "./compress.js";
import { openDirectories } from "./directory.js";
import { createLayerIndex } from "./layer-index.js";
import { unwrapped } from "./layer-stream.js";
import type { DigestMemory } from "./layer-view.js";
import { createOutput, layerName, openLayers } from "./layers.js";
import type { Layers } from "./layers.js";
import { diffHash, pump, spaceGuard } from "./pump.js";
import { commitRootfs, distinctLayers, prepareRootfs } from "./rootfs.js";
import { createTarParser } from "./tar-parser.js";
import { writeTar } from "./tar-writer.js";
import type { Change, LayerInfo, Snapshotter } from "./types.js";
import { openStackView } from "./view.js";

export interface SnapshotterOptions {
  readonly home: LayerHome;
  /** Called only when Node's own system calls do not do: loading them costs tens of milliseconds. */
  readonly syscalls: () => TreeSyscalls;
  /** Whether overlayfs keeps its marks in `user.overlay.*` here; must stay the same for one store. */
  readonly userNamespace: boolean;
  /** What `prepare` gives: an overlay's directories, or one directory where nothing may be mounted. */
  readonly rootfs: "overlay" | "directory";
}

/** A snapshotter over the layers of one store. Holds no descriptor, and no file but the directories it was asked for. */
export function openSnapshotter(options: SnapshotterOptions): Snapshotter {
  const { home, syscalls, userNamespace } = options;
  const layers = openLayers(home, { syscalls, userNamespace });
  const digests: DigestMemory = new Map();
  const directories =
    options.rootfs === "directory"
      ? openDirectories(layers, digests, (changes) => writeLayer(layers, changes, undefined))
      : undefined;
  const blobs = new Map<string, Promise<Descriptor>>();
  const info = (diffId: DiffId): LayerInfo | undefined => {
    const facts = layers.facts(diffId);
    return facts && { diffId, ...facts };
  };

  function compressed(diffId: DiffId, compression: Compression, signal?: AbortSignal): Promise<Descriptor> {
    const stored = home.blob(diffId, compression);
    if (stored) return Promise.resolve(stored);
    const key = `${compression} ${diffId}`;
    const running = blobs.get(key);
    if (running) return running;
    const made = makeBlob(layers, diffId, compression, signal).finally(() => blobs.delete(key));
    blobs.set(key, made);
    return made;
  }

  return {
    view: async (diffIds) => openStackView(layers, distinctLayers(layers, diffIds), digests),
    prepare: (diffIds, signal) =>
      directories ? directories.prepare(diffIds, signal) : prepareRootfs(layers, diffIds, digests, signal),
    commit: (rootfs, retime) => {
      if (rootfs.kind === "overlay") return commitRootfs(layers, rootfs, retime);
      if (!directories) throw new Error("commit of a directory by a snapshotter of overlays");
      return directories.commit(rootfs, retime);
    },
    write: (changes, signal) => writeLayer(layers, changes, signal),
    readArchive: (file, name, signal) => readArchive(home, file, name, signal),
    isArchive,
    register: async (blob, diffId, signal) => {
      const known = home.blob(diffId)?.digest === blob.digest ? info(diffId) : undefined;
      return known ?? registerBlob(layers, blob, diffId, signal);
    },
    tar: (diffId) => readable(layers.bytes(diffId)),
    compressed,
    info,
    [Symbol.asyncDispose]: async () => directories?.[Symbol.asyncDispose](),
  };
}

async function writeLayer(
  layers: Layers,
  changes: Iterable<Change>,
  signal: AbortSignal | undefined,
): Promise<LayerInfo> {
  await using staged = layers.home.stage();
  const path = `${staged.path}/tar`;
  const hash = diffHash();
  const tar = writeTar(changes);
  const out = createOutput(path, spaceGuard(staged.path, "the layer"));
  try {
    await pump(
      tar.chunks,
      (chunk) => {
        hash.update(chunk);
        out.write(chunk);
      },
      signal,
    );
    out.end();
  } finally {
    out.close();
  }
  const facts = tar.facts();
  const diffId = hash.result();
  layers.home.adopt(diffId, "tar", path, facts);
  layers.remember(diffId, facts);
  return { diffId, ...facts };
}

/** The blob stays the layer's form of record: its tar may not be one that our writer would make from the tree. */
async function registerBlob(
  layers: Layers,
  blob: Descriptor,
  diffId: DiffId,
  signal: AbortSignal | undefined,
): Promise<LayerInfo> {
  const what = layerName(diffId);
  const index = createLayerIndex(what);
  const parser = createTarParser(
    { member: (member) => void index.add(member), content: () => undefined },
    what,
  );
  const hash = diffHash();
  await pump(
    unwrapped(layers.home.readBlob(blob), what),
    (chunk) => {
      hash.update(chunk);
      parser.push(chunk);
    },
    signal,
  );
  parser.end();
  hash.verify(diffId, what);
  const facts = index.facts(hash.size);
  layers.home.rememberBlob(diffId, blob, facts);
  layers.remember(diffId, facts);
  return { diffId, ...facts };
}
