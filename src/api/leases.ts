import type { DiffId } from "../image/index.js";
import type { Store, StoredImage } from "../store/index.js";

/** Layers that some work uses; they stay until it is disposed, whatever a removal in this process does meanwhile. */
export interface Leases extends AsyncDisposable {
  /** Keeps an image's layers; returns the image. */
  readonly keep: (image: StoredImage) => StoredImage;
  /** The store, keeping the layers of every image that it hands out. */
  readonly store: Store;
}

/** The store itself protects what it handed out against other processes; this does so against our own `remove`. */
export function openLeases(store: Store): Leases {
  const held: AsyncDisposable[] = [];
  const kept = new Set<DiffId>();
  const keep = (image: StoredImage): StoredImage => {
    const fresh = image.config.rootfs.diff_ids.filter((diffId) => !kept.has(diffId));
    if (fresh.length > 0) held.push(store.lease(fresh));
    for (const diffId of fresh) kept.add(diffId);
    return image;
  };
  return {
    keep,
    store: {
      ...store,
      addImage: (image) => keep(store.addImage(image)),
      resolve: (nameOrId) => keep(store.resolve(nameOrId)),
      image: (id) => {
        const found = store.image(id);
        return found && keep(found);
      },
    },
    async [Symbol.asyncDispose]() {
      for (const lease of held.splice(0)) await lease[Symbol.asyncDispose]();
    },
  };
}
