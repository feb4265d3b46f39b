import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join, relative } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { atomicWrite, stagedDirectory, stagedPath } from "../fs/index.js";
import type { LayerFacts, LayerHome } from "../fs/index.js";
import { digestFromHex, hexOf, layerCompression, parseJsonDocument } from "../image/index.js";
import type { Descriptor, DiffId } from "../image/index.js";
import { blobItem } from "./blobs.js";
import type { Blobs } from "./blobs.js";
import type { StoreGround } from "./ground.js";
import { isFile, readSmall, safeHex } from "./paths.js";
import type { Item } from "./session.js";

/** The line that a session holds a layer with. */
export function layerItem(diffId: DiffId): Item {
  return `layer ${safeHex(diffId)}`;
}

const BLOB_FILE = /^blob-([0-9a-f]{64})\.json$/;

/** Layers in `layers/<hex of the DiffId>/`; one is registered from the moment its `layer.json` is there, which comes last. */
export function openLayers(ground: StoreGround, blobs: Blobs): LayerHome {
  const { paths, session } = ground;
  const place = (diffId: DiffId): string => join(paths.layers, safeHex(diffId));

  function write(path: string, value: unknown): void {
    atomicWrite(path, JSON.stringify(value), { temp: stagedPath(paths.tmp, session.owner), mode: 0o600 });
  }

  /** Makes the layer's directory, held so that nobody removes it before something points to it. */
  function open(diffId: DiffId): string {
    session.hold([layerItem(diffId)], true);
    const dir = place(diffId);
    try {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw ioError("make", dir, error);
    }
    return dir;
  }

  function register(dir: string, diffId: DiffId, facts: LayerFacts | undefined): void {
    const known = soundFacts(dir, diffId);
    if (known && (facts === undefined || known.size !== undefined)) return;
    write(join(dir, "layer.json"), { diffId, ...facts });
  }

  function adopt(diffId: DiffId, form: "tree" | "tar", from: string, facts: LayerFacts): void {
    if (relative(paths.tmp, from).startsWith("..")) throw new Error(`${from} was not staged in ${paths.tmp}`);
    const dir = open(diffId);
    const to = join(dir, form);
    try {
      if (!existsSync(to)) renameSync(from, to);
    } catch (error) {
      // Another process was faster: what it put there is the same.
      if (errnoOf(error) !== "ENOTEMPTY" && errnoOf(error) !== "EEXIST") throw ioError("write", to, error);
    }
    register(dir, diffId, facts);
  }

  function rememberBlob(diffId: DiffId, descriptor: Descriptor, facts?: LayerFacts): void {
    if (!blobs.hasWhole(descriptor))
      throw new CooperError("not-found", `blob ${descriptor.digest} is not in the store`);
    const dir = open(diffId);
    const path = join(dir, `blob-${hexOf(descriptor.digest)}.json`);
    if (!isFile(path))
      write(path, { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size });
    register(dir, diffId, facts);
    session.settle([blobItem(descriptor.digest)]);
  }

  return {
    dir: (diffId) => (isFile(join(place(diffId), "layer.json")) ? place(diffId) : undefined),
    blob: (diffId, compression) =>
      layerBlobs(place(diffId)).find(
        (blob) =>
          (compression === undefined || layerCompression(blob.mediaType) === compression) &&
          blobs.hasWhole(blob),
      ),
    readBlob: (descriptor) => blobs.api.read(descriptor),
    rememberBlob,
    stage: () => {
      ground.tidy();
      return stagedDirectory(paths.tmp, session.owner);
    },
    adopt,
    addBlob: blobs.add,
  };
}

/** Blobs that were remembered for the layer in a directory; they may be gone. A file that makes no sense counts for nothing. */
export function layerBlobs(dir: string): readonly Descriptor[] {
  const found: Descriptor[] = [];
  for (const name of namesIn(dir)) {
    const hex = BLOB_FILE.exec(name)?.[1];
    if (hex === undefined) continue;
    try {
      const bytes = readSmall(join(dir, name), name);
      const { mediaType, size } = bytes ? parseJsonDocument(bytes, name) : {};
      if (
        typeof mediaType === "string" &&
        typeof size === "number" &&
        Number.isSafeInteger(size) &&
        size >= 0
      ) {
        found.push({ mediaType, digest: digestFromHex(hex), size });
      }
    } catch {
      // Without the file the layer only lacks a short cut.
    }
  }
  return found;
}

/** What `layer.json` says; `size` is missing for a layer known only by its blob. Throws `corrupt`. */
export function readLayerFacts(dir: string, diffId: DiffId): Partial<LayerFacts> {
  const what = `layer ${diffId} of the store`;
  const bytes = readSmall(join(dir, "layer.json"), what);
  if (!bytes) throw new CooperError("not-found", `${what} is missing`);
  const json = parseJsonDocument(bytes, what);
  const { size, hasEntries } = json;
  const isSound =
    json["diffId"] === diffId &&
    (size === undefined || (typeof size === "number" && Number.isSafeInteger(size) && size >= 0)) &&
    (hasEntries === undefined || typeof hasEntries === "boolean");
  if (!isSound) throw new CooperError("corrupt", `${what}: layer.json is damaged`);
  return { ...(size === undefined ? {} : { size }), ...(hasEntries === undefined ? {} : { hasEntries }) };
}

/** Undefined when there are none, or damaged ones: they are written anew then. */
function soundFacts(dir: string, diffId: DiffId): Partial<LayerFacts> | undefined {
  try {
    return readLayerFacts(dir, diffId);
  } catch {
    return undefined;
  }
}

/** True when something of the layer's content is in its directory. */
export function hasForm(dir: string): boolean {
  return ["tree", "tar"].some((form) => lstatSync(join(dir, form), { throwIfNoEntry: false }) !== undefined);
}

function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir).toSorted();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw ioError("read", dir, error);
  }
}
