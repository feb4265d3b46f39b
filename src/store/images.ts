import { existsSync } from "node:fs";
import { join } from "node:path";
import { CooperError, hasCode } from "../errors.js";
import { acquireLease, atomicWrite, stagedPath, syncDirectory } from "../fs/index.js";
import type { LayerHome } from "../fs/index.js";
import { formatOf, hexOf, isIndex, mediaTypes, parseImageConfig, parseManifest } from "../image/index.js";
import type { Descriptor, Digest, ImageConfig } from "../image/index.js";
import { blobItem } from "./blobs.js";
import type { Blobs } from "./blobs.js";
import type { StoreGround } from "./ground.js";
import { layerItem } from "./layers.js";
import { recordPath } from "./paths.js";
import { readRecord, recordedIds, repairHint } from "./records.js";
import type { ImageRecord } from "./records.js";
import type { Item } from "./session.js";
import type { NewImage, StoredImage } from "./types.js";

export interface Images {
  readonly add: (image: NewImage) => StoredImage;
  readonly get: (id: Digest) => StoredImage | undefined;
  readonly all: (onCorrupt?: (id: Digest, reason: string) => void) => readonly StoredImage[];
  /** Sees to it that an image this store was asked about has its record, even if somebody removed it meanwhile. Throws `not-found`. */
  readonly ensure: (id: Digest) => void;
}

/** How long a record is waited for that another process is writing, ms; it takes it a fraction of one. */
const PATIENCE_MS = 10_000;

/** Image records in `images/`. A record is written after all that it points to; only `remove` takes one away. */
export function openImages(ground: StoreGround, blobs: Blobs, layers: LayerHome): Images {
  const { paths, session } = ground;
  /** Images that were handed out: what they are made of is held, so that they can be registered again. */
  const known = new Map<Digest, ImageRecord>();

  function add({ config: bytes, configMediaType, manifest, intermediate }: NewImage): StoredImage {
    const config = parseImageConfig(bytes, "image config");
    const configDescriptor = blobs.api.addBytes(configMediaType ?? mediaTypes.ociConfig, bytes);
    const id = configDescriptor.digest;
    const record: ImageRecord = {
      config: configDescriptor,
      ...(manifest ? { manifest: bare(manifest) } : {}),
      layers: config.rootfs.diff_ids,
      storedAt: ground.now(),
      intermediate,
    };
    session.hold(itemsOf(record), true);
    for (const layer of record.layers) {
      if (!layers.dir(layer))
        throw new CooperError("not-found", `layer ${layer} of image ${id} is not in the store`);
    }
    if (manifest) checkManifest(blobs.document(manifest), manifest, id, config);
    const written = writeRecord(id, record);
    session.settle(itemsOf(written));
    known.set(id, written);
    return imageOf(id, written, config);
  }

  function writeRecord(id: Digest, record: ImageRecord): ImageRecord {
    const stored = soundRecord(id);
    if (stored && isSame(merge(stored, record), stored)) return stored;
    using _lease = acquireLease(join(paths.locks, `image-${hexOf(id)}`), {
      owner: session.owner,
      socketDir: paths.locks,
      tempDir: paths.tmp,
      waitMs: PATIENCE_MS,
      what: `the record of image ${id}`,
    });
    const now = soundRecord(id);
    const merged = now ? merge(now, record) : record;
    // A step's result is worth no wait for the disk: after a power loss it is built again.
    const durable = !merged.intermediate;
    if (durable) persist(merged);
    const temp = stagedPath(paths.tmp, session.owner);
    atomicWrite(recordPath(paths, id), JSON.stringify(merged), { temp, durable, mode: 0o600 });
    return merged;
  }

  function persist(record: ImageRecord): void {
    blobs.persist(record.config.digest);
    if (record.manifest) blobs.persist(record.manifest.digest);
    syncDirectory(paths.blobs);
    syncDirectory(paths.layers);
  }

  function soundRecord(id: Digest): ImageRecord | undefined {
    try {
      return readRecord(paths, id);
    } catch (error) {
      if (hasCode(error, "corrupt")) return undefined;
      throw error;
    }
  }

  function load(id: Digest, record: ImageRecord): StoredImage {
    const what = `image ${id} of the store`;
    try {
      const config = parseImageConfig(blobs.document(record.config), what);
      if (config.rootfs.diff_ids.join() !== record.layers.join())
        throw new CooperError("corrupt", `${what}: its record is damaged`);
      return imageOf(id, record, config);
    } catch (error) {
      if (!hasCode(error, "corrupt") && !hasCode(error, "not-found")) throw error;
      throw new CooperError("corrupt", `image ${id} cannot be used: ${(error as Error).message}`, {
        hint: repairHint(id),
        cause: error,
      });
    }
  }

  function get(id: Digest): StoredImage | undefined {
    const record = readRecord(paths, id);
    if (!record) return undefined;
    session.hold(itemsOf(record), false);
    // Removed before it was held?
    if (!existsSync(recordPath(paths, id))) return undefined;
    known.set(id, record);
    return load(id, record);
  }

  function all(onCorrupt?: (id: Digest, reason: string) => void): readonly StoredImage[] {
    const found: StoredImage[] = [];
    for (const id of recordedIds(paths)) {
      try {
        const record = readRecord(paths, id);
        if (record) found.push(load(id, record));
      } catch (error) {
        if (!hasCode(error, "corrupt")) throw error;
        // Removed by somebody while we read it: then there is nothing to tell.
        if (soundRecord(id) !== undefined || isRecorded(id)) onCorrupt?.(id, (error as Error).message);
      }
    }
    return found.toSorted((a, b) => b.storedAt - a.storedAt || (a.id < b.id ? -1 : 1));
  }

  function isRecorded(id: Digest): boolean {
    return recordedIds(paths).includes(id);
  }

  function ensure(id: Digest): void {
    if (soundRecord(id)) return;
    const record = known.get(id);
    if (!record || !blobs.hasWhole(record.config) || !record.layers.every((layer) => layers.dir(layer))) {
      throw new CooperError("not-found", `image ${id} is not in the store`);
    }
    writeRecord(id, record);
  }

  return { add, get, all, ensure };
}

/** Everything that must stay while an image is used. */
function itemsOf(record: ImageRecord): readonly Item[] {
  const { config, manifest, layers } = record;
  return [
    blobItem(config.digest),
    ...(manifest ? [blobItem(manifest.digest)] : []),
    ...layers.map(layerItem),
  ];
}

function imageOf(id: Digest, record: ImageRecord, config: ImageConfig): StoredImage {
  const { manifest, storedAt, intermediate } = record;
  return Object.freeze({
    id,
    config,
    configDescriptor: record.config,
    format: formatOf((manifest ?? record.config).mediaType),
    ...(manifest ? { manifest } : {}),
    storedAt,
    intermediate,
  });
}

/** What an image's record says after it was registered again. */
function merge(stored: ImageRecord, added: ImageRecord): ImageRecord {
  const manifest = added.manifest ?? stored.manifest;
  return {
    // A step's result has no format of its own.
    config: added.intermediate ? stored.config : added.config,
    ...(manifest ? { manifest } : {}),
    layers: added.layers,
    storedAt: stored.storedAt,
    intermediate: stored.intermediate && added.intermediate,
  };
}

function isSame(a: ImageRecord, b: ImageRecord): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function bare({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

function checkManifest(
  bytes: Buffer,
  { mediaType, digest }: Descriptor,
  id: Digest,
  config: ImageConfig,
): void {
  const what = `manifest ${digest}`;
  const manifest = parseManifest(bytes, mediaType, what);
  if (isIndex(manifest))
    throw new CooperError("corrupt", `${what} is a list of images, not that of image ${id}`);
  if (manifest.config.digest !== id)
    throw new CooperError("corrupt", `${what} is that of image ${manifest.config.digest}, not of ${id}`);
  const [has, needs] = [manifest.layers.length, config.rootfs.diff_ids.length];
  if (has !== needs) throw new CooperError("corrupt", `${what} has ${has} layers, its config ${needs}`);
}
