import { readdirSync } from "node:fs";
import { CooperError, hasCode } from "../errors.js";
import { digestFromHex, isDigest, parseDiffId, parseJsonDocument } from "../image/index.js";
import type { Descriptor, Digest, DiffId } from "../image/index.js";
import { readSmall, recordPath } from "./paths.js";
import type { StorePaths } from "./paths.js";

/**
 * What `images/<hex of the id>.json` says of an image. It repeats the layers of the config, so that what an image needs is
 * known when its config blob is damaged.
 */
export interface ImageRecord {
  readonly config: Descriptor;
  readonly manifest?: Descriptor;
  readonly layers: readonly DiffId[];
  readonly storedAt: number;
  readonly intermediate: boolean;
}

const RECORD_FILE = /^([0-9a-f]{64})\.json$/;

/** Ids of all images that have a record, damaged or not, sorted. */
export function recordedIds(paths: StorePaths): readonly Digest[] {
  const names = readdirSync(paths.images).toSorted();
  return names.flatMap((name) => {
    const hex = RECORD_FILE.exec(name)?.[1];
    return hex === undefined ? [] : [digestFromHex<Digest>(hex)];
  });
}

/** An image's record; undefined when there is none. Throws `corrupt` naming the image. */
export function readRecord(paths: StorePaths, id: Digest): ImageRecord | undefined {
  const what = `image ${id} of the store`;
  try {
    const bytes = readSmall(recordPath(paths, id), what);
    if (!bytes) return undefined;
    const record = parseRecord(bytes, what);
    if (record.config.digest !== id)
      throw new CooperError("corrupt", `${what}: its record is another image's`);
    return record;
  } catch (error) {
    if (!hasCode(error, "corrupt")) throw error;
    throw new CooperError("corrupt", (error as Error).message, { hint: repairHint(id), cause: error });
  }
}

/** What to do about a damaged image. */
export function repairHint(id: Digest): string {
  return `remove it with \`cooper rmi --force ${id.slice("sha256:".length, "sha256:".length + 12)}\`, then pull or build it again`;
}

function parseRecord(bytes: Buffer, what: string): ImageRecord {
  const { config, manifest, layers, storedAt, intermediate } = parseJsonDocument(bytes, what);
  if (!Array.isArray(layers) || typeof storedAt !== "number" || typeof intermediate !== "boolean") {
    throw new CooperError("corrupt", `${what}: its record is damaged`);
  }
  return {
    config: parseDescriptor(config, what),
    ...(manifest === undefined ? {} : { manifest: parseDescriptor(manifest, what) }),
    layers: layers.map((layer) => parseDiffId(layer, what)),
    storedAt,
    intermediate,
  };
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  if (typeof value === "object" && value !== null) {
    const { mediaType, digest, size } = value as Readonly<Record<string, unknown>>;
    const isSize = typeof size === "number" && Number.isSafeInteger(size) && size >= 0;
    if (typeof mediaType === "string" && isDigest(digest) && isSize) return { mediaType, digest, size };
  }
  throw new CooperError("corrupt", `${what}: its record is damaged`);
}
