import type { PushOptions } from "../cooper.js";
import { CooperError } from "../errors.js";
import type { Descriptor, FullReference, ImageFormat, Manifest } from "../image/index.js";
import {
  formatOf,
  formatReference,
  isIndex,
  layerCompression,
  localName,
  makeManifest,
  parseManifest,
  parseReference,
  LOCAL_REGISTRY,
} from "../image/index.js";
import type { StoredImage } from "../store/index.js";
import { registryOptions } from "./pull.js";
import type { Workshop } from "./workshop.js";

/** A manifest with its bytes as they are sent and hashed. */
export interface SealedManifest {
  readonly manifest: Manifest;
  readonly bytes: Buffer;
}

/**
 * The manifest of a stored image in its format, all its blobs being there: the one it was pulled with, byte for byte,
 * while its blobs are kept; else a new one over layers that are compressed now.
 */
export async function sealManifest(
  workshop: Workshop,
  image: StoredImage,
  signal?: AbortSignal,
): Promise<SealedManifest> {
  return (await pulledManifest(workshop, image)) ?? (await newManifest(workshop, image, signal));
}

async function pulledManifest(workshop: Workshop, image: StoredImage): Promise<SealedManifest | undefined> {
  if (!image.manifest || formatOf(image.manifest.mediaType) !== image.format) return undefined;
  if (!workshop.store.blobs.has(image.manifest.digest)) return undefined;
  const bytes = await workshop.store.blobs.bytes(image.manifest);
  const manifest = parseManifest(bytes, image.manifest.mediaType, `manifest of ${image.id}`);
  if (isIndex(manifest) || !manifest.layers.every((layer) => workshop.store.blobs.has(layer.digest)))
    return undefined;
  return { manifest, bytes };
}

async function newManifest(
  workshop: Workshop,
  image: StoredImage,
  signal?: AbortSignal,
): Promise<SealedManifest> {
  const layers: Descriptor[] = [];
  for (const diffId of image.config.rootfs.diff_ids) {
    const known = workshop.store.layers.blob(diffId);
    const usable =
      known !== undefined && workshop.store.blobs.has(known.digest) && isReadable(known, image.format);
    layers.push(usable ? known : await (await workshop.snapshotter()).compressed(diffId, "gzip", signal));
  }
  const manifest = makeManifest(image.format, image.configDescriptor, layers);
  return { manifest, bytes: Buffer.from(JSON.stringify(manifest)) };
}

/** Of what docker's format has, every reader takes gzip; it has no zstd at all. */
function isReadable(layer: Descriptor, format: ImageFormat): boolean {
  return format === "oci" || layerCompression(layer.mediaType) === "gzip";
}

/** Pushes a stored image; `destination` defaults to the name it was found by. */
export async function pushImage(
  workshop: Workshop,
  nameOrId: string,
  destination: string | undefined,
  options: PushOptions,
): Promise<Descriptor> {
  const found = workshop.store.resolve(nameOrId);
  const image = { ...found, format: options.format ?? found.format };
  await using _lease = workshop.store.lease(image.config.rootfs.diff_ids);
  const target: FullReference = localName(parseReference(destination ?? nameOrId));
  const registry = await workshop.registry();
  options.onEvent?.({ type: "push-start", reference: formatReference(target) });
  const { manifest, bytes } = await sealManifest(workshop, image, options.signal);
  try {
    return await registry.push(
      { manifest, manifestBytes: bytes, blobs: workshop.store.blobs },
      target,
      registryOptions(options),
    );
  } catch (error) {
    throw explained(error, target);
  }
}

/** A name without a registry is kept under `localhost/`, which is hardly where anybody means to push to. */
function explained(error: unknown, target: FullReference): unknown {
  if (!(error instanceof CooperError) || error.code !== "network" || target.registry !== LOCAL_REGISTRY)
    return error;
  return new CooperError(error.code, error.message, {
    cause: error,
    hint: "the name has no registry: say where to push it, as in `cooper push NAME registry.example/team/NAME`",
  });
}
