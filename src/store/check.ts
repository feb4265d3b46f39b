import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { digestFromHex, isIndex, parseManifest } from "../image/index.js";
import type { Digest, DiffId } from "../image/index.js";
import { DAMAGED_SUFFIX, hashFile } from "./blobs.js";
import { hasForm, layerBlobs, readLayerFacts } from "./layers.js";
import { storePaths } from "./paths.js";
import { readRecord, recordedIds } from "./records.js";
import { readRefs } from "./refs.js";
import type { Store } from "./types.js";

/** Something in a store that is not as it should be. */
export interface StoreProblem {
  /** What: `blob sha256:…`, `layer sha256:…`, `image sha256:…`, `name …`. */
  readonly object: string;
  readonly problem: string;
}

export interface CheckOptions {
  /** Says what is wrong with a layer's tree (`layers/<hex>/tree`), if something is; without it trees are not read. */
  readonly checkTree?: (diffId: DiffId, dir: string) => Promise<string | undefined>;
}

/**
 * Reads everything that a store holds and lists all that is wrong: blobs and tars whose bytes are not those of their
 * digest, names without image, images without config or layers, layers without content. Changes nothing, but for
 * blobs found damaged, which are set aside. Takes as long as reading it all.
 */
export async function checkStore(store: Store, options: CheckOptions = {}): Promise<readonly StoreProblem[]> {
  const found: StoreProblem[] = [];
  const report = (object: string, problem: string): void => void found.push({ object, problem });
  checkBlobs(store, report);
  await checkLayers(store, report, options);
  await checkImages(store, report);
  checkNames(store, report);
  return found;
}

type Report = (object: string, problem: string) => void;

const HEX = /^[0-9a-f]{64}$/;

function checkBlobs({ root }: Store, report: Report): void {
  const { blobs } = storePaths(root);
  for (const name of readdirSync(blobs)) {
    if (name.endsWith(DAMAGED_SUFFIX)) continue;
    if (!HEX.test(name)) report(`blob ${name}`, "its name is not a digest");
    else
      attempt(report, `blob sha256:${name}`, () =>
        wrongDigest(join(blobs, name), digestFromHex<Digest>(name)),
      );
  }
}

async function checkLayers(store: Store, report: Report, { checkTree }: CheckOptions): Promise<void> {
  const { layers } = storePaths(store.root);
  for (const name of readdirSync(layers)) {
    const dir = join(layers, name);
    // One without layer.json is not registered: what a killed process left, for the next removal.
    if (!HEX.test(name) || !existsSync(join(dir, "layer.json"))) continue;
    const diffId: DiffId = digestFromHex(name);
    attempt(report, `layer ${diffId}`, () => wrongLayer(store, dir, diffId));
    if (checkTree === undefined || !existsSync(join(dir, "tree"))) continue;
    const wrong = await checkTree(diffId, join(dir, "tree"));
    if (wrong !== undefined) report(`layer ${diffId}`, wrong);
  }
}

function wrongLayer({ blobs }: Store, dir: string, diffId: DiffId): string | undefined {
  const { hasEntries } = readLayerFacts(dir, diffId);
  const tar = join(dir, "tar");
  if (existsSync(tar)) {
    const wrong = wrongDigest(tar, diffId);
    if (wrong !== undefined) return `its tar: ${wrong}`;
  }
  const isThere =
    hasEntries === false ||
    hasForm(dir) ||
    layerBlobs(dir).some(({ digest }) => existsSync(blobs.path(digest)));
  return isThere ? undefined : "it has neither tree nor tar nor blob";
}

async function checkImages(store: Store, report: Report): Promise<void> {
  const paths = storePaths(store.root);
  store.images((id, reason) => report(`image ${id}`, reason));
  for (const id of recordedIds(paths)) {
    attempt(report, `image ${id}`, () => {
      const record = readRecord(paths, id);
      const missing = record?.layers.find((layer) => store.layers.dir(layer) === undefined);
      return missing === undefined ? undefined : `layer ${missing} is missing`;
    });
    await checkManifest(store, id, report);
  }
}

async function checkManifest(store: Store, id: Digest, report: Report): Promise<void> {
  try {
    const manifest = readRecord(storePaths(store.root), id)?.manifest;
    if (!manifest) return;
    const document = parseManifest(
      await store.blobs.bytes(manifest),
      manifest.mediaType,
      `manifest ${manifest.digest}`,
    );
    if (isIndex(document) || document.config.digest !== id)
      report(`image ${id}`, `manifest ${manifest.digest} is not its own`);
  } catch (error) {
    report(`image ${id}`, (error as Error).message);
  }
}

function checkNames(store: Store, report: Report): void {
  const paths = storePaths(store.root);
  const ids = new Set(recordedIds(paths));
  const names = readRefs(paths, (file, reason) => report(`name ${file}`, reason));
  for (const [name, id] of names) if (!ids.has(id)) report(`name ${name}`, `its image ${id} is missing`);
}

function wrongDigest(path: string, digest: Digest | DiffId): string | undefined {
  const found = hashFile(path);
  if (found === undefined) return "it is missing";
  return found === (digest as string) ? undefined : `its bytes have the digest ${found}`;
}

function attempt(report: Report, object: string, check: () => string | undefined): void {
  try {
    const wrong = check();
    if (wrong !== undefined) report(object, wrong);
  } catch (error) {
    report(object, (error as Error).message);
  }
}
