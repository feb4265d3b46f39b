import { CooperError } from "../errors.js";
import type { ImageConfig } from "./config.js";
import { layerCompression, mediaTypes } from "./descriptor.js";
import type { Descriptor, ImageFormat } from "./descriptor.js";
import { parseDiffId, parseDigest } from "./digest.js";
import { platformMatches } from "./platform.js";
import type { Platform } from "./platform.js";

/** One image. Source: OCI image-spec manifest.md; docker schema 2. */
export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Oldest (base) layer first. */
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Several images under one name. Source: OCI image-spec image-index.md; docker manifest list. */
export interface Index {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

/** Largest manifest or config we read, bytes. Source: OCI distribution-spec asks registries to accept 4 MiB. */
export const MAX_DOCUMENT_SIZE = 4 * 1024 * 1024;
/** Overlayfs stacks at most this many lower directories. */
export const MAX_LAYERS = 500;

type Json = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function corrupt(what: string, why: string): CooperError {
  return new CooperError("corrupt", `${what}: ${why}`);
}

/** Parses a JSON document of at most 4 MiB; `__proto__` keys are dropped. Throws `corrupt`. */
export function parseJsonDocument(bytes: Uint8Array, what: string): Json {
  if (bytes.byteLength > MAX_DOCUMENT_SIZE) throw corrupt(what, "larger than 4 MiB");
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"), (key, v: unknown) =>
      key === "__proto__" ? undefined : v,
    );
  } catch {
    throw corrupt(what, "not valid JSON");
  }
  if (!isRecord(value)) throw corrupt(what, "not a JSON object");
  return value;
}

function parsePlatform(value: unknown, what: string): Platform | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isRecord(value)) throw corrupt(what, "platform is not an object");
  const { os, architecture, variant } = value;
  if (typeof os !== "string" || typeof architecture !== "string")
    throw corrupt(what, "platform lacks os or architecture");
  return { os, architecture, ...(typeof variant === "string" && variant !== "" ? { variant } : {}) };
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isRecord(value)) throw corrupt(what, "a descriptor is not an object");
  const { mediaType, size, annotations } = value;
  if (typeof mediaType !== "string") throw corrupt(what, "a descriptor lacks its mediaType");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
    throw corrupt(what, "a descriptor's size is not a byte count");
  const platform = parsePlatform(value["platform"], what);
  return {
    mediaType,
    digest: parseDigest(value["digest"], what),
    size,
    ...(platform ? { platform } : {}),
    ...(isRecord(annotations) ? { annotations: stringValues(annotations) } : {}),
  };
}

function stringValues(record: Json): Record<string, string> {
  return Object.fromEntries(
    Object.entries(record).filter((e): e is [string, string] => typeof e[1] === "string"),
  );
}

function descriptorList(value: unknown, what: string): readonly Descriptor[] {
  if (!Array.isArray(value)) throw corrupt(what, "a list of descriptors is missing");
  return value.map((item) => parseDescriptor(item, what));
}

const INDEX_TYPES: readonly string[] = [mediaTypes.ociIndex, mediaTypes.dockerManifestList];
const MANIFEST_TYPES: readonly string[] = [mediaTypes.ociManifest, mediaTypes.dockerManifest];

/**
 * Parses a manifest or an index from outside. `contentType` is what the registry said it is (or what the
 * descriptor says); a document that says otherwise, or that could be read as both, is refused (`corrupt`).
 */
export function parseManifest(
  bytes: Uint8Array,
  contentType: string | undefined,
  what: string,
): Manifest | Index {
  const json = parseJsonDocument(bytes, what);
  if (json["schemaVersion"] === 1)
    throw new CooperError("unsupported", `${what}: docker schema 1 images are not supported`);
  if (json["schemaVersion"] !== 2) throw corrupt(what, "schemaVersion is not 2");
  const own = typeof json["mediaType"] === "string" ? json["mediaType"] : undefined;
  const told = contentType?.split(";")[0]?.trim();
  if (own && told && own !== told) throw corrupt(what, `says it is ${own} but was sent as ${told}`);
  const mediaType =
    own ?? told ?? (json["manifests"] === undefined ? mediaTypes.ociManifest : mediaTypes.ociIndex);
  if (json["manifests"] !== undefined && (json["layers"] !== undefined || json["config"] !== undefined)) {
    throw corrupt(what, "ambiguous manifest: it has both manifests and layers");
  }
  if (INDEX_TYPES.includes(mediaType)) {
    return { schemaVersion: 2, mediaType, manifests: descriptorList(json["manifests"], what) };
  }
  if (!MANIFEST_TYPES.includes(mediaType))
    throw new CooperError("unsupported", `${what}: media type ${mediaType} is not an image`);
  const layers = descriptorList(json["layers"], what);
  if (layers.length > MAX_LAYERS) throw corrupt(what, `more than ${MAX_LAYERS} layers`);
  const { annotations } = json;
  return {
    schemaVersion: 2,
    mediaType,
    config: parseDescriptor(json["config"], what),
    layers,
    ...(isRecord(annotations) ? { annotations: stringValues(annotations) } : {}),
  };
}

/** True for an index. */
export function isIndex(document: Manifest | Index): document is Index {
  return "manifests" in document;
}

/** The entry of an index for a platform; attestations (`unknown/unknown`) never match. Throws `not-found` listing what there is. */
export function selectPlatform(index: Index, platform: Platform, what: string): Descriptor {
  const found = index.manifests.find((d) => d.platform && platformMatches(platform, d.platform));
  if (found) return found;
  const unnamed = index.manifests.filter(
    (d) => d.platform === undefined && MANIFEST_TYPES.includes(d.mediaType),
  );
  if (unnamed.length === 1 && unnamed[0]) return unnamed[0];
  const offered = index.manifests.flatMap((d) =>
    d.platform ? [`${d.platform.os}/${d.platform.architecture}`] : [],
  );
  throw new CooperError(
    "not-found",
    `${what}: no image for ${platform.os}/${platform.architecture}; it has ${offered.join(", ") || "none"}`,
  );
}

/**
 * Parses an image configuration from outside. Throws `corrupt` where a part that we use has the wrong shape.
 * Unknown fields are kept by keeping the blob, not here.
 */
export function parseImageConfig(bytes: Uint8Array, what: string): ImageConfig {
  const json = parseJsonDocument(bytes, what);
  const { os, architecture, variant, rootfs, config, history, created, author } = json;
  if (typeof os !== "string" || typeof architecture !== "string")
    throw corrupt(what, "lacks os or architecture");
  if (!isRecord(rootfs) || !Array.isArray(rootfs["diff_ids"])) throw corrupt(what, "lacks rootfs.diff_ids");
  const diffIds = rootfs["diff_ids"].map((d) => parseDiffId(d, what));
  if (diffIds.length > MAX_LAYERS) throw corrupt(what, `more than ${MAX_LAYERS} layers`);
  if (config !== undefined && config !== null && !isRecord(config))
    throw corrupt(what, "config is not an object");
  if (history !== undefined && history !== null && (!Array.isArray(history) || !history.every(isRecord))) {
    throw corrupt(what, "history is not a list of objects");
  }
  return {
    os,
    architecture,
    ...(typeof variant === "string" && variant !== "" ? { variant } : {}),
    ...(typeof created === "string" ? { created } : {}),
    ...(typeof author === "string" ? { author } : {}),
    config: parseProcessConfig(config ?? {}, what),
    rootfs: { type: "layers", diff_ids: diffIds },
    history: (history as ImageConfig["history"] | null | undefined) ?? [],
  };
}

const STRING_FIELDS = ["User", "WorkingDir", "StopSignal"];
const LIST_FIELDS = ["Env", "Entrypoint", "Cmd", "OnBuild", "Shell"];
const MAP_FIELDS = ["ExposedPorts", "Volumes", "Labels", "Healthcheck"];
/** As JSON writes it; behind a backslash that is text, which stands twice there, the same letters are text. */
const NUL = /(?<!\\)(?:\\\\)*\\u0000/;

function parseProcessConfig(config: Json, what: string): ImageConfig["config"] {
  const kept: Record<string, unknown> = {};
  const isStringList = (v: unknown) => Array.isArray(v) && v.every((s) => typeof s === "string");
  const keep = (names: readonly string[], fits: (v: unknown) => boolean, shape: string) => {
    for (const name of names) {
      const value = config[name];
      if (value === undefined || value === null) continue;
      if (!fits(value)) throw corrupt(what, `config.${name} is not ${shape}`);
      if (NUL.test(JSON.stringify(value))) throw corrupt(what, `config.${name} holds a NUL byte`);
      kept[name] = value;
    }
  };
  keep(STRING_FIELDS, (v) => typeof v === "string", "a string");
  keep(LIST_FIELDS, isStringList, "a list of strings");
  keep(MAP_FIELDS, isRecord, "an object");
  return kept;
}

/**
 * Builds the manifest document of an image, config and layers named in the format's media types; the same input gives
 * the same bytes. Throws `unsupported` for a layer that the format has no type for.
 */
export function makeManifest(
  format: ImageFormat,
  config: Pick<Descriptor, "digest" | "size">,
  layers: readonly Descriptor[],
): Manifest {
  const [mediaType, configType] =
    format === "oci"
      ? [mediaTypes.ociManifest, mediaTypes.ociConfig]
      : [mediaTypes.dockerManifest, mediaTypes.dockerConfig];
  const { digest, size } = config;
  return {
    schemaVersion: 2,
    mediaType,
    config: { mediaType: configType, digest, size },
    layers: layers.map((layer) => layerIn(format, layer)),
  };
}

/** The same layer named in the media type family of the other format (never mix families: Artifactory refuses it). */
export function layerIn(format: ImageFormat, layer: Descriptor): Descriptor {
  const compression = layerCompression(layer.mediaType);
  if (compression === "zstd" && format === "docker") {
    throw new CooperError("unsupported", "docker format images cannot have zstd layers");
  }
  const oci = { none: mediaTypes.ociLayer, gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd };
  const docker = {
    none: mediaTypes.dockerLayer,
    gzip: mediaTypes.dockerLayerGzip,
    zstd: mediaTypes.ociLayerZstd,
  };
  return { ...layer, mediaType: (format === "oci" ? oci : docker)[compression ?? "none"] };
}
