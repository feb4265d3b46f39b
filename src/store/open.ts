import { join, resolve } from "node:path";
import { CooperError, hasCode } from "../errors.js";
import { acquireLease, sweep, monotonicMs } from "../fs/index.js";
import type { Lease } from "../fs/index.js";
import type { DiffId, ImageFormat } from "../image/index.js";
import { openBlobs } from "./blobs.js";
import { takeCache } from "./cache-mounts.js";
import { openFormat } from "./format.js";
import type { StoreGround } from "./ground.js";
import { openImages } from "./images.js";
import type { Images } from "./images.js";
import { layerItem, openLayers } from "./layers.js";
import { safeHex, storePaths } from "./paths.js";
import { readRecord, recordedIds } from "./records.js";
import { canonicalName, deleteRef, readNamed, readRef, readRefs, writeRef } from "./refs.js";
import { removeImages } from "./removal.js";
import { findImage } from "./resolve.js";
import { forgetDead, openSession } from "./session.js";
import type { Store, StoredImage } from "./types.js";

export interface StoreOptions {
  /** The engine works inside a user namespace: overlayfs keeps its marks in user.* there, and the store says so. */
  readonly userNamespace: boolean;
  /** Wall clock, ms since 1970. */
  readonly now?: () => number;
}

/** How often an open store looks for what dead processes left, ms. */
const SWEEP_INTERVAL_MS = 60_000;

/**
 * Opens a store, making it (0700) where there is none; reads one small file. The caller disposes it. Throws
 * `store-version` for a store of a newer cooper, another user or the other flavour, `usage` for a directory of other
 * things, `corrupt`, `io`, `no-space`.
 */
export function openStore(root: string, options: StoreOptions): Store {
  const paths = storePaths(resolve(root));
  openFormat(paths, options.userNamespace ? "rootless" : "root");
  const session = openSession(paths);
  const sweeper = openSweeper();
  const ground: StoreGround = {
    paths,
    session,
    now: options.now ?? Date.now,
    tidy: () => sweeper.tidy(ground),
  };
  const blobs = openBlobs(ground);
  const layers = openLayers(ground, blobs);
  const images = openImages(ground, blobs, layers);
  return {
    root: paths.root,
    blobs: blobs.api,
    layers,
    addImage: images.add,
    image: images.get,
    images: images.all,
    names: () => readRefs(paths),
    tag: (name, image, format) => tag(ground, images, canonicalName(name), image, format),
    untag: (name) => deleteRef(paths, canonicalName(name)),
    resolve: (text) => find(ground, images, text),
    remove: (targets, { force }) => removeImages(ground, blobs, targets, force),
    lease: (diffIds) => lease(ground, diffIds),
    takeCache: (request, signal) => takeCache(ground, request, signal),
    async [Symbol.asyncDispose]() {
      await sweeper.finished();
      session.close();
    },
  };
}

function tag(
  ground: StoreGround,
  images: Images,
  name: string,
  image: StoredImage["id"],
  given: ImageFormat | undefined,
): void {
  const release = ground.session.lease([`image ${safeHex(image)}`]);
  try {
    images.ensure(image);
    const format = given ?? images.get(image)?.format ?? "oci";
    const current = currentRef(ground, name);
    if (current?.image !== image || current.format !== format) writeRef(ground, name, image, format);
  } finally {
    release();
  }
}

/** A damaged name is as good as none for whoever writes it anew. */
function currentRef({ paths }: StoreGround, name: string): ReturnType<typeof readNamed> {
  try {
    return readNamed(paths, name);
  } catch (error) {
    if (hasCode(error, "corrupt")) return undefined;
    throw error;
  }
}

function find({ paths }: StoreGround, images: Images, text: string): StoredImage {
  const { id, name } = findImage(text, {
    ref: (full) => readRef(paths, full),
    names: () => readRefs(paths),
    ids: () => recordedIds(paths),
    manifestOf: (image) => readRecord(paths, image)?.manifest?.digest,
  });
  const image = images.get(id);
  if (image) {
    const format = name === undefined ? undefined : readNamed(paths, name)?.format;
    return format === undefined || format === image.format ? image : { ...image, format };
  }
  throw new CooperError("not-found", `${name ?? text} is image ${id}, which is not in the store any more`, {
    hint: "pull or build it again",
  });
}

function lease({ session }: StoreGround, diffIds: readonly DiffId[]): AsyncDisposable {
  const release = session.lease(diffIds.map(layerItem));
  return {
    [Symbol.asyncDispose]() {
      release();
      return Promise.resolve();
    },
  };
}

interface Sweeper {
  tidy(ground: StoreGround): void;
  /** Waits for the sweep that is going on. */
  finished(): Promise<void>;
}

function openSweeper(): Sweeper {
  let last = Number.NEGATIVE_INFINITY;
  let running = Promise.resolve();
  return {
    tidy(ground) {
      if (monotonicMs() - last < SWEEP_INTERVAL_MS) return;
      last = monotonicMs();
      // What could not be removed is left for the next time; it is no failure of what is being done now.
      running = sweepOnce(ground).catch(() => undefined);
    },
    finished: () => running,
  };
}

/** One process at a time; the others do without. */
async function sweepOnce({ paths, session }: StoreGround): Promise<void> {
  let lease: Lease | undefined;
  try {
    const what = "the sweep of the store";
    lease = acquireLease(join(paths.locks, "sweep"), {
      owner: session.owner,
      socketDir: paths.locks,
      tempDir: paths.tmp,
      waitMs: 0,
      what,
    });
  } catch (error) {
    // On a full disk the sweep is all the more wanted; two at once do no harm.
    if (!hasCode(error, "no-space")) return;
  }
  try {
    await sweep(paths.tmp, paths.locks);
    await forgetDead(paths);
  } finally {
    lease?.[Symbol.dispose]();
  }
}
