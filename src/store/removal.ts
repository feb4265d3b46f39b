import { readdirSync, renameSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, hasCode, ioError } from "../errors.js";
import { acquireLeaseAsync, removeTree, stagedPath } from "../fs/index.js";
import type { Lease } from "../fs/index.js";
import { hexOf, isIndex, parseManifest } from "../image/index.js";
import type { Digest } from "../image/index.js";
import { loadBallast, withBallast } from "./ballast.js";
import { blobItem } from "./blobs.js";
import type { Blobs } from "./blobs.js";
import type { StoreGround } from "./ground.js";
import { layerBlobs, layerItem } from "./layers.js";
import { isParentOf, lineageOf } from "./lineage.js";
import type { Lineage } from "./lineage.js";
import { recordPath } from "./paths.js";
import type { StorePaths } from "./paths.js";
import { readRecord, recordedIds } from "./records.js";
import type { ImageRecord } from "./records.js";
import { deleteRef, readRefs } from "./refs.js";
import { findImage } from "./resolve.js";
import { removeStaleTemporaries } from "./stale.js";
import { deadSessions, heldByAll, removalLease } from "./session.js";
import type { Item } from "./session.js";
import type { Removed } from "./types.js";

/** How long another removal is waited for, ms. */
const PATIENCE_MS = 60_000;

/** The store as a removal sees it: nothing changes but what it changes, and what others hold. */
interface View {
  readonly names: ReadonlyMap<string, Digest>;
  /** Missing for an image whose record is damaged. */
  readonly records: ReadonlyMap<Digest, ImageRecord | undefined>;
  readonly held: ReadonlySet<Item>;
}

interface Plan {
  readonly untagged: readonly string[];
  readonly deleted: readonly Digest[];
}

/**
 * Removes names and images, then what nothing points to or holds any more. Decisions and renames happen under the
 * removal lease and take milliseconds; the deleting comes after it. All arguments are looked up before anything goes.
 */
export async function removeImages(
  ground: StoreGround,
  blobs: Blobs,
  targets: readonly string[],
  force: boolean,
): Promise<Removed> {
  const { paths } = ground;
  ground.tidy();
  const dead = await deadSessions(paths);
  const lease = await withBallast(paths, () => takeLease(ground));
  const doomed: string[] = [];
  let plan: Plan;
  try {
    // Sessions first: what is released after this has its pointer by now, and the pointers are read next.
    const held = heldByAll(paths, dead, ground.session);
    const view: View = { held, names: readRefs(paths), records: readRecords(ground) };
    plan = decide(view, blobs, targets, force);
    for (const name of plan.untagged) deleteRef(paths, name);
    for (const id of plan.deleted) unlink(recordPath(paths, id));
    collect(ground, blobs, withoutImages(view, plan.deleted), doomed);
  } finally {
    lease[Symbol.dispose]();
  }
  for (const path of doomed) await removeTree(path);
  clearUp(paths);
  return plan;
}

/** Whether it succeeds or not, the images are gone. */
function clearUp(paths: StorePaths): void {
  try {
    removeStaleTemporaries(paths);
  } catch {
    // Somebody else was faster, or the next removal does it.
  }
  loadBallast(paths);
}

function takeLease({ paths, session }: StoreGround): Promise<Lease> {
  return acquireLeaseAsync(removalLease(paths), {
    owner: session.owner,
    socketDir: paths.locks,
    tempDir: paths.tmp,
    waitMs: PATIENCE_MS,
    what: "the right to remove images",
  });
}

function readRecords({ paths }: StoreGround): ReadonlyMap<Digest, ImageRecord | undefined> {
  const records = new Map<Digest, ImageRecord | undefined>();
  for (const id of recordedIds(paths)) {
    try {
      records.set(id, readRecord(paths, id));
    } catch (error) {
      if (!hasCode(error, "corrupt")) throw error;
      records.set(id, undefined);
    }
  }
  return records;
}

/** Which names and images go. Throws `not-found`, `invalid-name`, `in-use`. */
function decide(view: View, blobs: Blobs, targets: readonly string[], force: boolean): Plan {
  const untagged = new Set<string>();
  const images = new Set<Digest>();
  for (const target of targets) {
    const { id, name } = findImage(target, {
      ref: (text) => view.names.get(text),
      names: () => view.names,
      ids: () => [...view.records.keys()],
      manifestOf: (image) => view.records.get(image)?.manifest?.digest,
    });
    images.add(id);
    if (name !== undefined) untagged.add(name);
    else for (const one of namesToDrop(view, id, untagged, force)) untagged.add(one);
  }
  const isNamed = (id: Digest): boolean =>
    [...view.names].some(([name, image]) => image === id && !untagged.has(name));
  const deleted = new Set([...images].filter((id) => view.records.has(id) && !isNamed(id)));
  for (const id of deleted) {
    if (view.held.has(`image ${hexOf(id)}`))
      throw new CooperError("in-use", `image ${id} is being named by another process`);
  }
  for (const parent of forsakenParents(view, blobs, deleted, isNamed)) deleted.add(parent);
  return { untagged: [...untagged], deleted: [...deleted] };
}

function namesToDrop(
  { names }: View,
  id: Digest,
  untagged: ReadonlySet<string>,
  force: boolean,
): readonly string[] {
  const own = [...names].filter(([name, image]) => image === id && !untagged.has(name)).map(([name]) => name);
  if (own.length <= 1 || force) return own;
  throw new CooperError("in-use", `image ${id.slice(7, 19)} has several names: ${own.join(", ")}`, {
    hint: "remove the names one by one, or all of them with --force",
  });
}

/** Steps' results that stood only below images that go; longest first, since each may have been the last on another. */
function forsakenParents(
  view: View,
  blobs: Blobs,
  deleted: ReadonlySet<Digest>,
  isNamed: (id: Digest) => boolean,
): readonly Digest[] {
  const lineages = new Map<Digest, Lineage>();
  for (const [id, record] of view.records) if (record) lineages.set(id, lineageOf(record, blobs));
  const of = (ids: Iterable<Digest>): Lineage[] => [...ids].flatMap((id) => lineages.get(id) ?? []);
  const going = of(deleted);
  const isHeld = ({ layers }: Lineage): boolean => {
    const top = layers.at(-1);
    return top !== undefined && view.held.has(layerItem(top));
  };
  const candidates = [...lineages]
    .filter(
      ([id, lineage]) =>
        view.records.get(id)?.intermediate === true && !deleted.has(id) && !isNamed(id) && !isHeld(lineage),
    )
    .filter(([, lineage]) => going.some((child) => isParentOf(lineage, child)))
    .toSorted(([, a], [, b]) => b.layers.length - a.layers.length || b.history.length - a.history.length);
  const staying = new Set([...lineages.keys()].filter((id) => !deleted.has(id)));
  const gone: Digest[] = [];
  for (const [id, lineage] of candidates) {
    if (of(staying).some((child) => isParentOf(lineage, child))) continue;
    staying.delete(id);
    gone.push(id);
  }
  return gone;
}

function withoutImages(view: View, deleted: readonly Digest[]): View {
  return { ...view, records: new Map([...view.records].filter(([id]) => !deleted.includes(id))) };
}

/** Renames layers and blobs that nothing needs out of their places; `doomed` gets the paths. */
function collect({ paths, session }: StoreGround, blobs: Blobs, view: View, doomed: string[]): void {
  const records = [...view.records.values()];
  // What a damaged record needs is not known: then everything may be needed.
  if (records.includes(undefined)) return;
  const live = new Set(view.held);
  for (const record of records) for (const item of itemsNeeded(record, blobs)) live.add(item);
  const drop = (path: string): void => {
    const grave = stagedPath(paths.tmp, session.owner);
    rename(path, grave);
    doomed.push(grave);
  };
  for (const hex of readdirSync(paths.layers)) {
    if (!live.has(`layer ${hex}`)) drop(join(paths.layers, hex));
    else for (const { digest } of layerBlobs(join(paths.layers, hex))) live.add(blobItem(digest));
  }
  for (const hex of readdirSync(paths.blobs)) if (!live.has(`blob ${hex}`)) drop(join(paths.blobs, hex));
}

function itemsNeeded(record: ImageRecord | undefined, blobs: Blobs): readonly Item[] {
  if (!record) return [];
  const { config, manifest, layers } = record;
  const items: Item[] = [blobItem(config.digest), ...layers.map(layerItem)];
  if (!manifest) return items;
  items.push(blobItem(manifest.digest));
  try {
    const document = parseManifest(blobs.document(manifest), manifest.mediaType, manifest.digest);
    if (!isIndex(document)) items.push(...document.layers.map(({ digest }) => blobItem(digest)));
  } catch (error) {
    // Its layers' blobs are still kept by the layers that remember them.
    if (!hasCode(error, "corrupt") && !hasCode(error, "not-found") && !hasCode(error, "unsupported"))
      throw error;
  }
  return items;
}

function rename(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    throw ioError("remove", from, error);
  }
}

function unlink(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw ioError("remove", path, error);
  }
}
