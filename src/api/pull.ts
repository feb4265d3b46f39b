import type { PullPolicy, TransferOptions } from "../cooper.js";
import { CooperError, hasCode } from "../errors.js";
import type { Descriptor, Reference } from "../image/index.js";
import { formatReference, hostPlatform, localName, parseReference } from "../image/index.js";
import type { FoundImage, RegistryOptions } from "../registry/index.js";
import type { StoredImage } from "../store/index.js";
import type { Workshop } from "./workshop.js";

/** An image by name or id: from the store, or from a registry as the policy says. Throws `not-found` and what a pull throws. */
export async function findImage(
  workshop: Workshop,
  name: string,
  policy: PullPolicy,
  options: TransferOptions,
): Promise<StoredImage> {
  const stored = policy === "always" ? undefined : storedImage(workshop, name);
  if (stored && policy !== "newer") return stored;
  if (policy === "never")
    throw new CooperError("not-found", `image ${name} is not stored here, and pulling is off`);
  const reference = parseReference(name);
  if (reference.registry === "localhost") return stored ?? missingLocal(name);
  try {
    return await pullImage(workshop, reference, options);
  } catch (error) {
    if (stored && policy === "newer" && (hasCode(error, "network") || hasCode(error, "not-found")))
      return stored;
    throw error;
  }
}

function storedImage(workshop: Workshop, name: string): StoredImage | undefined {
  try {
    return workshop.store.resolve(name);
  } catch (error) {
    if (hasCode(error, "not-found")) return undefined;
    throw error;
  }
}

function missingLocal(name: string): never {
  throw new CooperError("not-found", `image ${name} is not stored here`, {
    hint: "names that begin with localhost/ are never pulled; `cooper images` lists what is stored",
  });
}

/** Pulls an image: every layer is verified against manifest and config before the image exists. */
export async function pullImage(
  workshop: Workshop,
  reference: Reference,
  options: TransferOptions,
): Promise<StoredImage> {
  const registry = await workshop.registry();
  options.onEvent?.({ type: "pull-start", reference: formatReference(reference) });
  const found = await registry.find(reference, hostPlatform(), registryOptions(options));
  await fetchLayers(workshop, found, options);
  announce("config", found.manifest.config, options);
  const image = storeImage(workshop, found);
  workshop.store.tag(localName(found.reference), image.id);
  announce("manifest", found.descriptor, options);
  return image;
}

/** Config and manifest are small: they were there before anything could be said of them. */
function announce(kind: "config" | "manifest", blob: Descriptor, options: TransferOptions): void {
  const { digest, size } = blob;
  options.onEvent?.({ type: "transfer", kind, digest, doneBytes: size, totalBytes: size });
}

async function fetchLayers(workshop: Workshop, found: FoundImage, options: TransferOptions): Promise<void> {
  const diffIds = found.config.rootfs.diff_ids;
  const { layers } = found.manifest;
  if (layers.length !== diffIds.length) {
    throw new CooperError(
      "corrupt",
      `${formatReference(found.reference)}: its manifest has ${layers.length} layers, its config ${diffIds.length}`,
    );
  }
  await Promise.all(
    layers.map(async (layer, i) => {
      const diffId = diffIds[i];
      if (diffId === undefined) return;
      if (workshop.store.layers.dir(diffId) !== undefined) {
        options.onEvent?.({
          type: "transfer",
          kind: "layer",
          digest: layer.digest,
          doneBytes: layer.size,
          totalBytes: layer.size,
          skipped: true,
        });
        return;
      }
      await found.fetchLayer(layer, workshop.store.blobs);
      await (await workshop.snapshotter()).register(layer, diffId, options.signal);
    }),
  );
}

function storeImage(workshop: Workshop, found: FoundImage): StoredImage {
  const manifest = workshop.store.blobs.addBytes(found.descriptor.mediaType, found.manifestBytes);
  return workshop.store.addImage({
    config: found.configBytes,
    configMediaType: found.manifest.config.mediaType,
    manifest,
    intermediate: false,
  });
}

/** Transfer options as the registry room takes them. */
export function registryOptions(options: TransferOptions): RegistryOptions {
  const { tlsVerify, creds, authFile, certDir, retries, signal, onEvent } = options;
  return {
    ...(tlsVerify === undefined ? {} : { tlsVerify }),
    ...(creds === undefined ? {} : { creds }),
    ...(authFile === undefined ? {} : { authFile }),
    ...(certDir === undefined ? {} : { certDir }),
    ...(retries === undefined ? {} : { retries }),
    ...(signal === undefined ? {} : { signal }),
    ...(onEvent === undefined ? {} : { onEvent }),
  };
}
