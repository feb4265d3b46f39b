import type { TransferOptions } from "../cooper.js";
import { CooperError } from "../errors.js";
import type { Descriptor, FullReference, Manifest } from "../image/index.js";
import {
  formatReference,
  isIndex,
  layerIn,
  localName,
  makeManifest,
  mediaTypes,
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
 * The manifest of a stored image, all its blobs being there: the one it was pulled with, byte for byte, while its blobs
 * are kept; else a new one over layers that are compressed now.
 */
export async function sealManifest(
  workshop: Workshop,
  image: StoredImage,
  signal?: AbortSignal,
): Promise<SealedManifest> {
  return (await pulledManifest(workshop, image)) ?? (await newManifest(workshop, image, signal));
}

async function pulledManifest(workshop: Workshop, image: StoredImage): Promise<SealedManifest | undefined> {
  if (!image.manifest || !workshop.store.blobs.has(image.manifest.digest)) return undefined;
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
    const blob =
      known && workshop.store.blobs.has(known.digest)
        ? known
        : await (await workshop.snapshotter()).compressed(diffId, "gzip", signal);
    layers.push(layerIn("oci", blob));
  }
  const { digest, size } = image.configDescriptor;
  const manifest = makeManifest("oci", { mediaType: mediaTypes.ociConfig, digest, size }, layers);
  return { manifest, bytes: Buffer.from(JSON.stringify(manifest)) };
}

/** Pushes a stored image; `destination` defaults to the name it was found by. */
export async function pushImage(
  workshop: Workshop,
  nameOrId: string,
  destination: string | undefined,
  options: TransferOptions,
): Promise<Descriptor> {
  const image = workshop.store.resolve(nameOrId);
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
