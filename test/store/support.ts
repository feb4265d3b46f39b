import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { digestOf, localName, mediaTypes, parseReference } from "../../src/image/index.js";
import type { Descriptor, DiffId, FullReference } from "../../src/image/index.js";
import { openStore } from "../../src/store/index.js";
import type { NewImage, Store } from "../../src/store/index.js";

/** A directory of this test; the caller removes it. */
export function scratchDirectory(): string {
  return mkdtempSync(join(tmpdir(), "cooper-store-"));
}

export function openTestStore(root: string, now?: () => number): Store {
  return openStore(root, { userNamespace: false, ...(now ? { now } : {}) });
}

/** A DiffId for content that only has to be told apart. */
export function diffIdOf(content: string): DiffId {
  return digestOf(`layer ${content}`) as string as DiffId;
}

export function nameOf(text: string): FullReference {
  return localName(parseReference(text));
}

/** Registers a layer with a tree of one file. */
export async function addLayer(store: Store, content: string): Promise<DiffId> {
  const diffId = diffIdOf(content);
  await using staged = store.layers.stage();
  mkdirSync(join(staged.path, "tree"));
  writeFileSync(join(staged.path, "tree/file"), content);
  store.layers.adopt(diffId, "tree", join(staged.path, "tree"), { size: content.length, hasEntries: true });
  return diffId;
}

/** Registers a layer whose tar has the given bytes, under its real DiffId. */
export async function addTarLayer(store: Store, bytes: string): Promise<DiffId> {
  const diffId = digestOf(bytes) as string as DiffId;
  await using staged = store.layers.stage();
  writeFileSync(join(staged.path, "tar"), bytes);
  store.layers.adopt(diffId, "tar", join(staged.path, "tar"), { size: bytes.length, hasEntries: true });
  return diffId;
}

export function addTestBlob(store: Store, bytes: string): Promise<Descriptor> {
  return store.layers.addBlob(mediaTypes.ociLayerGzip, Readable.from([Buffer.from(bytes)]));
}

/** An image whose history has one step per name in `steps`, the last ones making the layers. */
export function newImage(
  layers: readonly DiffId[],
  steps: readonly string[],
  options: Partial<NewImage> = {},
): NewImage {
  const config = {
    os: "linux",
    architecture: "amd64",
    config: { Cmd: ["sh"] },
    rootfs: { type: "layers", diff_ids: layers },
    history: steps.map((step) => ({ created_by: step })),
  };
  return { config: Buffer.from(JSON.stringify(config)), intermediate: false, ...options };
}

export async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
