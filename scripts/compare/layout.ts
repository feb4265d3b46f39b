// Reads an image out of a directory: an OCI image layout, the unpacked archive of `docker save`, or what the
// containers tools call `dir:`, a manifest and its blobs side by side.
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { flattenConfig } from "./config.js";
import { applyLayer, treeFacts } from "./layers.js";
import type { Tree } from "./layers.js";
import { readTar } from "./tar-reader.js";
import type { TarEntry } from "./tar-reader.js";
import type { Attributes, ImageFacts } from "./types.js";

interface ImageFiles {
  readonly config: { readonly config?: object; readonly rootfs: { readonly diff_ids: readonly string[] } };
  /** Paths of the layers' blobs, base first. */
  readonly layers: readonly string[];
}

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

/** An image in the archive of `docker save`: paths in it. */
interface SavedImage {
  readonly Config: string;
  readonly Layers: readonly string[];
}

/** Layers that were read, by DiffId: every image of a run stands on the same few bases. */
export type LayerCache = Map<string, readonly TarEntry[]>;

export interface ReadOptions {
  /** An image whose layers, where the image begins with them, are taken as given: only what differs from them is told. */
  readonly base?: string;
  readonly times?: boolean;
  readonly cache?: LayerCache;
}

/** Everything that is compared about the image in `dir`. Throws for damaged layers. */
export async function readImage(dir: string, options: ReadOptions = {}): Promise<ImageFacts> {
  const files = imageFiles(dir);
  const base = options.base === undefined ? undefined : imageFiles(options.base);
  const ids = files.config.rootfs.diff_ids;
  const stands = base?.config.rootfs.diff_ids.every((id, at) => ids[at] === id) === true;
  const tree = await factsOf(files, options);
  return {
    tree: base !== undefined && stands ? changes(await factsOf(base, options), tree) : tree,
    config: flattenConfig(files.config.config ?? {}),
  };
}

async function factsOf(files: ImageFiles, options: ReadOptions): Promise<Record<string, Attributes>> {
  const tree: Tree = new Map();
  for (const [at, path] of files.layers.entries()) {
    const id = files.config.rootfs.diff_ids[at] ?? "";
    const entries = options.cache?.get(id) ?? (await readLayer(path, id));
    options.cache?.set(id, entries);
    applyLayer(tree, entries);
  }
  return treeFacts(tree, options.times === true);
}

/** What is new or other in `after`, and what of `before` is gone. */
function changes(
  before: Readonly<Record<string, Attributes>>,
  after: Readonly<Record<string, Attributes>>,
): Record<string, Attributes> {
  const same = (path: string): boolean => JSON.stringify(before[path]) === JSON.stringify(after[path]);
  const found = Object.entries(after).filter(([path]) => !same(path));
  const gone = Object.keys(before).filter((path) => after[path] === undefined);
  return Object.fromEntries([...found, ...gone.map((path) => [path, { type: "removed" }] as const)]);
}

function imageFiles(dir: string): ImageFiles {
  const json = (path: string): never => JSON.parse(readFileSync(join(dir, path), "utf8")) as never;
  const blob = (digest: string): string => `blobs/${digest.replace(":", "/")}`;
  if (!existsSync(join(dir, "manifest.json"))) {
    const index: { manifests: readonly { digest: string }[] } = json("index.json");
    const [descriptor] = index.manifests;
    if (descriptor === undefined) throw new Error(`${dir}: index.json names no image`);
    return filesOf(json(blob(descriptor.digest)), blob);
  }
  const found = json("manifest.json") as Manifest | readonly SavedImage[];
  if ("config" in found) return filesOf(found, (digest) => digest.replace("sha256:", ""));
  const [image] = found;
  if (image === undefined) throw new Error(`${dir}: manifest.json names no image`);
  return { config: json(image.Config), layers: image.Layers.map((path) => join(dir, path)) };

  function filesOf(manifest: Manifest, pathOf: (digest: string) => string): ImageFiles {
    const layers = manifest.layers.map(({ digest }) => join(dir, pathOf(digest)));
    return { config: json(pathOf(manifest.config.digest)), layers };
  }
}

async function readLayer(path: string, diffId: string): Promise<readonly TarEntry[]> {
  const hash = createHash("sha256");
  async function* bytes(): AsyncGenerator<Buffer> {
    for await (const chunk of await decompressed(path)) {
      hash.update(chunk as Buffer);
      yield chunk as Buffer;
    }
  }
  const source = bytes();
  const entries: TarEntry[] = [];
  for await (const entry of readTar(source)) entries.push(entry);
  // What follows the end mark belongs to the digest too.
  while ((await source.next()).done !== true);
  const found = `sha256:${hash.digest("hex")}`;
  if (found !== diffId) throw new Error(`${path}: its tar is ${found}, the config says ${diffId}`);
  return entries;
}

async function decompressed(path: string): Promise<AsyncIterable<unknown>> {
  const stream = createReadStream(path);
  const magic = await firstBytes(path);
  if (magic.startsWith("28b52ffd")) throw new Error(`${path}: layers compressed by zstd cannot be read`);
  return magic.startsWith("1f8b") ? stream.pipe(createGunzip()) : stream;
}

async function firstBytes(path: string): Promise<string> {
  for await (const chunk of createReadStream(path, { end: 3 })) return (chunk as Buffer).toString("hex");
  return "";
}
