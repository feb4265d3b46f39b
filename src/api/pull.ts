import type { PullPolicy, TransferOptions } from "../cooper.js";
import { CooperError, hasCode } from "../errors.js";
import type { Descriptor, Reference } from "../image/index.js";
import type { Platform } from "../image/index.js";
import {
  digestOf,
  formatOf,
  formatPlatform,
  formatReference,
  hostPlatform,
  LOCAL_REGISTRY,
  localName,
  parseReference,
  platformMatches,
} from "../image/index.js";
import type { FoundImage, RegistryOptions } from "../registry/index.js";
import type { StoredImage } from "../store/index.js";
import type { Workshop } from "./workshop.js";

/** Which image a name is to mean. */
export interface FindOptions extends TransferOptions {
  /** Default: this machine's. */
  readonly platform?: Platform;
}

/** An image by name or id: from the store, or from a registry as the policy says. Throws `not-found` and what a pull throws. */
export async function findImage(
  workshop: Workshop,
  name: string,
  policy: PullPolicy,
  options: FindOptions,
): Promise<StoredImage> {
  const { platform = hostPlatform() } = options;
  const stored = policy === "always" ? undefined : storedFor(workshop, name, platform, options);
  if (stored && policy !== "newer") return stored;
  if (policy === "never") throw notStored(name, storedImage(workshop, name), platform);
  const reference = parseReference(name);
  if (reference.registry === "localhost") return stored ?? missingLocal(name);
  try {
    const pulled = await pullImage(workshop, reference, options);
    if (!platformMatches(platform, hostPlatform()) || !platformMatches(platform, pulled.config)) {
      workshop.cache.setMemo(platformMemo(name, platform), pulled.id);
    }
    return pulled;
  } catch (error) {
    if (stored && policy === "newer" && (hasCode(error, "network") || hasCode(error, "not-found")))
      return stored;
    throw error;
  }
}

/** The stored image of a name that serves a platform; what is no registry's serves any, with a warning. */
function storedFor(
  workshop: Workshop,
  name: string,
  platform: Platform,
  { onEvent }: TransferOptions,
): StoredImage | undefined {
  const named = storedImage(workshop, name);
  if (named && platformMatches(platform, named.config)) return named;
  const remembered = workshop.cache.memo(platformMemo(name, platform));
  const image = remembered === undefined ? undefined : workshop.store.image(remembered as StoredImage["id"]);
  if (image || !named || !isOurs(workshop, name, named)) return image;
  const message = `${name} is for ${formatPlatform(named.config)}, not ${formatPlatform(platform)}`;
  onEvent?.({ type: "warning", code: "platform", message });
  return named;
}

/** Which image a registry gave for a platform that is not this machine's, or though it was made for another one. */
function platformMemo(name: string, platform: Platform): string {
  return digestOf(JSON.stringify(["platform", name, formatPlatform(platform)]));
}

/** Whether an image was asked for by its id, or by a name that no registry has. */
function isOurs(workshop: Workshop, text: string, image: StoredImage): boolean {
  const hex = text.replace(/^sha256:/, "");
  if (image.id.startsWith(`sha256:${hex}`)) return true;
  const full = localName(parseReference(text));
  return full.registry === LOCAL_REGISTRY && workshop.store.names().get(formatReference(full)) === image.id;
}

function notStored(name: string, other: StoredImage | undefined, platform: Platform): CooperError {
  const what = other
    ? `stored here for ${formatPlatform(other.config)}, not ${formatPlatform(platform)}`
    : "not stored here";
  return new CooperError("not-found", `image ${name} is ${what}, and pulling is off`);
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

/**
 * Pulls an image: every layer is verified against manifest and config before the image exists. One for another platform
 * than this machine's gets a name with its digest, and leaves the tag to the one that runs here.
 */
export async function pullImage(
  workshop: Workshop,
  reference: Reference,
  options: FindOptions,
): Promise<StoredImage> {
  const { platform = hostPlatform() } = options;
  const registry = await workshop.registry();
  options.onEvent?.({ type: "pull-start", reference: formatReference(reference) });
  const found = await registry.find(reference, platform, registryOptions(options));
  await fetchLayers(workshop, found, options);
  announce("config", found.manifest.config, options);
  const image = storeImage(workshop, found);
  const name = localName(found.reference);
  const isForeign =
    !platformMatches(platform, hostPlatform()) && !platformMatches(hostPlatform(), image.config);
  workshop.store.tag(
    isForeign ? { ...name, digest: found.descriptor.digest } : name,
    image.id,
    formatOf(found.descriptor.mediaType),
  );
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
