import { CooperError } from "../errors.js";
import type { Platform } from "../image/index.js";
import { digestOf, formatPlatform, platformMatches } from "../image/index.js";
import type { StoredImage } from "../store/index.js";
import { importArchive } from "./save.js";
import type { Workshop } from "./workshop.js";

/**
 * The image that `DIR[:TAG|@DIGEST]` means in an OCI layout directory; its blobs are taken into the store, names are not.
 * Which one it was is remembered by the layout's index. Throws `not-found`, `corrupt`, `io`.
 */
export async function layoutImage(
  workshop: Workshop,
  text: string,
  platform: Platform,
  signal: AbortSignal | undefined,
): Promise<StoredImage> {
  const [, path = "", digest, tag] = /^(.*?)(?:@([^/]*)|:([^/:]*))?$/.exec(text) ?? [];
  const { readIndex } = await import("../archive/index.js");
  const bytes = readIndex(path);
  const memo = digestOf(
    JSON.stringify(["oci-layout", digestOf(bytes), digest, tag, formatPlatform(platform)]),
  );
  const known = workshop.cache.memo(memo);
  const stored = known === undefined ? undefined : workshop.store.image(known as StoredImage["id"]);
  if (stored) return stored;
  const images = await importArchive(workshop, path, path, signal);
  const named = images.filter(({ names, manifest }) =>
    digest === undefined ? tag === undefined || isTagged(names, tag) : manifest?.digest === digest,
  );
  const image = named.find(({ image: { config } }) => platformMatches(platform, config)) ?? named[0];
  if (!image) {
    const names = images.flatMap((one) => one.names).join(", ");
    throw new CooperError(
      "not-found",
      `${path} has no image ${digest ?? tag ?? ""}`,
      names === "" ? {} : { hint: `it has ${names}` },
    );
  }
  workshop.cache.setMemo(memo, image.image.id);
  return image.image;
}

/** A layout may call an image by its tag alone or by its full name. */
function isTagged(names: readonly string[], tag: string): boolean {
  return names.some((name) => name === tag || name.endsWith(`:${tag}`));
}
