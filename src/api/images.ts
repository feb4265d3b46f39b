import type { HistoryRow, ImageDetails, ImageSummary } from "../cooper.js";
import type { DiffId } from "../image/index.js";
import { formatOf } from "../image/index.js";
import type { StoredImage } from "../store/index.js";
import type { Workshop } from "./workshop.js";

/** Stored images, newest first; steps' results that no name points to only when `all`. */
export async function listImages(workshop: Workshop, all: boolean): Promise<readonly ImageSummary[]> {
  const names = namesByImage(workshop);
  const sizes = await layerSizes(workshop);
  return workshop.store
    .images()
    .filter((image) => all || !image.intermediate || names.has(image.id))
    .map((image) => summaryOf(image, names, sizes));
}

/** What is known of an image. */
export async function inspectImage(workshop: Workshop, nameOrId: string): Promise<ImageDetails> {
  const image = workshop.store.resolve(nameOrId);
  const { manifest, format } = image;
  const digest = manifest && formatOf(manifest.mediaType) === format ? manifest.digest : undefined;
  return {
    ...(await summarize(workshop, image)),
    ...(digest === undefined ? {} : { digest }),
    format: image.format,
    config: image.config,
    configSize: image.configDescriptor.size,
  };
}

/** A summary of one image. */
export async function summarize(workshop: Workshop, image: StoredImage): Promise<ImageSummary> {
  return summaryOf(image, namesByImage(workshop), await layerSizes(workshop));
}

/** The image's history, newest first, with the stored image of each step where there is one. */
export async function historyOf(workshop: Workshop, nameOrId: string): Promise<readonly HistoryRow[]> {
  const image = workshop.store.resolve(nameOrId);
  const sizes = await layerSizes(workshop);
  const { history, rootfs } = image.config;
  const known = new Map(
    workshop.store.images().map((one) => [historyKey(one, one.config.history.length), one.id]),
  );
  let layer = 0;
  const rows = history.map((entry, i): HistoryRow => {
    const diffId = entry.empty_layer === true ? undefined : rootfs.diff_ids[layer];
    if (entry.empty_layer !== true) layer += 1;
    const id = i === history.length - 1 ? image.id : known.get(historyKey(image, i + 1));
    return {
      ...(id === undefined ? {} : { id }),
      ...(entry.created === undefined ? {} : { created: entry.created }),
      createdBy: entry.created_by ?? "",
      size: diffId === undefined ? 0 : sizes(diffId),
      comment: entry.comment ?? "",
    };
  });
  return rows.toReversed();
}

/** Two images with equal keys were the same image after so many steps. */
function historyKey(image: StoredImage, steps: number): string {
  const history = image.config.history.slice(0, steps);
  const layers = history.filter((entry) => entry.empty_layer !== true).length;
  return JSON.stringify([history, image.config.rootfs.diff_ids.slice(0, layers)]);
}

function namesByImage(workshop: Workshop): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const [name, id] of workshop.store.names()) found.set(id, [...(found.get(id) ?? []), name]);
  return found;
}

/** Bytes of a layer's tar; 0 when it is not stored. */
async function layerSizes(workshop: Workshop): Promise<(diffId: DiffId) => number> {
  const snapshotter = await workshop.snapshotter();
  return (diffId) => snapshotter.info(diffId)?.size ?? 0;
}

function summaryOf(
  image: StoredImage,
  names: ReadonlyMap<string, readonly string[]>,
  sizes: (diffId: DiffId) => number,
): ImageSummary {
  const own = names.get(image.id) ?? [];
  const size = image.config.rootfs.diff_ids.reduce((sum, diffId) => sum + sizes(diffId), 0);
  const created = image.config.created === undefined ? image.storedAt : Date.parse(image.config.created);
  return { id: image.id, names: own, created, size, intermediate: image.intermediate && own.length === 0 };
}
