import { createWriteStream } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ArchiveImage } from "../archive/index.js";
import type { SaveFormat } from "../cooper.js";
import { CooperError, hasCode, ioError } from "../errors.js";
import type { Descriptor, FullReference, ImageFormat } from "../image/index.js";
import { formatOf, formatReference, localName, parseImageConfig, parseReference } from "../image/index.js";
import type { StoredImage } from "../store/index.js";
import { sealManifest } from "./push.js";
import type { Workshop } from "./workshop.js";

/** Writes stored images, with the names they are to have, as one archive. */
export async function saveImages(
  workshop: Workshop,
  images: readonly { readonly image: StoredImage; readonly names: readonly FullReference[] }[],
  options: { readonly format: SaveFormat; readonly dest: string; readonly signal?: AbortSignal },
): Promise<void> {
  const { store } = workshop;
  await using _lease = store.lease(images.flatMap(({ image }) => image.config.rootfs.diff_ids));
  const snapshotter = await workshop.snapshotter();
  const archive: ArchiveImage[] = [];
  for (const { image, names } of images) {
    const { config, configDescriptor } = image;
    const sealed =
      options.format === "docker-archive" ? undefined : await sealManifest(workshop, image, options.signal);
    archive.push({ names, config, configDescriptor, ...(sealed ? { manifest: sealed } : {}) });
  }
  const layerTar = (diffId: StoredImage["config"]["rootfs"]["diff_ids"][number]) => {
    const facts = snapshotter.info(diffId);
    if (!facts)
      throw new CooperError("corrupt", `layer ${diffId} is missing from the store, or damaged`, {
        hint: "build or pull the image again",
      });
    return { size: facts.size, content: snapshotter.tar(diffId) };
  };
  const { writeArchive } = await import("../archive/index.js");
  await writeArchive(archive, { blobs: store.blobs, layerTar }, options);
}

/** As `saveImages`, for what a user names: an image named by a name keeps that name in the archive, one named by id has none. */
export async function saveNamed(
  workshop: Workshop,
  namesOrIds: readonly string[],
  options: { readonly format: SaveFormat; readonly dest: string; readonly signal?: AbortSignal },
): Promise<void> {
  const images = namesOrIds.map((nameOrId) => {
    const image = workshop.store.resolve(nameOrId);
    return { image, names: storedName(workshop, nameOrId, image) };
  });
  await saveImages(workshop, images, options);
}

function storedName(workshop: Workshop, nameOrId: string, image: StoredImage): readonly FullReference[] {
  const names = [...workshop.store.names()].filter(([, id]) => id === image.id).map(([name]) => name);
  const own = names.find(
    (name) =>
      name === nameOrId ||
      name.endsWith(`/${nameOrId}`) ||
      name.endsWith(`/${nameOrId}:latest`) ||
      name === `${nameOrId}:latest`,
  );
  return own === undefined ? [] : [localName(parseReference(own))];
}

/** Reads an archive or layout into the store; every layer is verified before its image exists. Returns names, or ids of nameless images. */
export async function loadImages(
  workshop: Workshop,
  source: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  if (source !== "-") return loadArchive(workshop, source, source, signal);
  const path = await spoolStdin(workshop, signal);
  try {
    return await loadArchive(workshop, path, STDIN, signal);
  } catch (error) {
    throw namingStdin(error, path);
  }
}

const STDIN = "stdin";

/** Nobody knows the file that stdin was spooled to. */
function namingStdin(error: unknown, path: string): unknown {
  if (!(error instanceof CooperError) || !error.message.includes(path)) return error;
  return new CooperError(error.code, error.message.replaceAll(path, STDIN), { cause: error });
}

async function loadArchive(
  workshop: Workshop,
  path: string,
  source: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const loaded: string[] = [];
  for (const { image, names: texts, format } of await importArchive(workshop, path, source, signal)) {
    const names = texts.flatMap(parseable);
    for (const name of names) workshop.store.tag(name, image.id, format);
    loaded.push(...(names.length > 0 ? names.map(formatReference) : [image.id]));
  }
  return loaded;
}

/** An image of an archive that is in the store now. */
export interface ImportedImage {
  readonly image: StoredImage;
  /** Names as the archive has them, unchecked text. */
  readonly names: readonly string[];
  readonly format: ImageFormat;
  readonly manifest?: Descriptor;
}

/** Takes the images of an archive or layout into the store and gives them no names. `source` is what errors call it. */
export async function importArchive(
  workshop: Workshop,
  path: string,
  source: string,
  signal?: AbortSignal,
): Promise<readonly ImportedImage[]> {
  const { store } = workshop;
  const sink = {
    blobs: store.blobs,
    bytes: store.blobs.bytes.bind(store.blobs),
    addBlob: (mediaType: string, content: Parameters<typeof store.layers.addBlob>[1]) =>
      store.layers.addBlob(mediaType, content, signal),
  };
  const { readArchive } = await import("../archive/index.js");
  const imported: ImportedImage[] = [];
  for (const image of await readArchive(path, sink, signal)) {
    const config = parseImageConfig(image.config, `${source}: config`);
    const diffIds = config.rootfs.diff_ids;
    if (diffIds.length !== image.layers.length) {
      throw new CooperError(
        "corrupt",
        `${source}: an image has ${image.layers.length} layers, its config ${diffIds.length}`,
      );
    }
    for (const [i, layer] of image.layers.entries()) {
      const diffId = diffIds[i];
      if (diffId !== undefined && store.layers.dir(diffId) === undefined)
        await (await workshop.snapshotter()).register(layer, diffId, signal);
    }
    const manifest = image.manifest ? { manifest: image.manifest } : {};
    const { configMediaType } = image;
    const stored = store.addImage({
      config: image.config,
      configMediaType,
      intermediate: false,
      ...manifest,
    });
    imported.push({
      image: stored,
      names: image.names,
      format: formatOf(image.manifest?.mediaType ?? configMediaType),
      ...manifest,
    });
  }
  return imported;
}

/** A layout may carry a bare tag or any text as a name; only what is an image name becomes one. */
function parseable(name: string): readonly FullReference[] {
  try {
    return [localName(parseReference(name))];
  } catch (error) {
    if (hasCode(error, "invalid-name")) return [];
    throw error;
  }
}

async function spoolStdin(workshop: Workshop, signal?: AbortSignal): Promise<string> {
  const path = join(workshop.scratchDir(), "stdin.tar");
  try {
    await pipeline(process.stdin, createWriteStream(path), signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw ioError("keep the archive from stdin in", dirname(path), error);
  }
  return path;
}
