import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, hexOf, mediaTypes } from "../../src/image/index.js";
import type { Digest, DiffId } from "../../src/image/index.js";
import { checkStore } from "../../src/store/index.js";
import type { Store } from "../../src/store/index.js";
import {
  addLayer,
  addTestBlob,
  diffIdOf,
  nameOf,
  newImage,
  openTestStore,
  scratchDirectory,
} from "./support.js";

let dir: string;
let root: string;
/** The store under test, and the same one opened by "somebody else". */
let store: Store;
let other: Store;
beforeEach(() => {
  dir = scratchDirectory();
  root = join(dir, "store");
  store = openTestStore(root);
  other = openTestStore(root);
});
afterEach(async () => {
  expect(await checkStore(store)).toEqual([]);
  await store[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  expect(readdirSync(join(root, "tmp"))).toEqual([]);
  expect(readdirSync(join(root, "locks"))).toEqual(["ballast"]);
  rmSync(dir, { recursive: true, force: true });
});

const layersThere = (): string[] => readdirSync(join(root, "layers")).toSorted();
const blobsThere = (): string[] => readdirSync(join(root, "blobs/sha256")).toSorted();
const hexes = (...ids: (Digest | DiffId)[]): string[] => ids.map(hexOf).toSorted();

/** As another process would, after the one that built is gone. */
async function reopen(): Promise<void> {
  await store[Symbol.asyncDispose]();
  store = openTestStore(root);
}

describe("remove", () => {
  test("by its only name: the image, its layers and blobs go", async () => {
    const [a, b] = [await addLayer(store, "a"), await addLayer(store, "b")];
    store.layers.rememberBlob(b, await addTestBlob(store, "compressed b"));
    const kept = store.addImage(newImage([a], ["a"]));
    const gone = store.addImage(newImage([a, b], ["a", "b"]));
    store.tag(nameOf("kept"), kept.id);
    store.tag(nameOf("gone"), gone.id);
    expect(await store.remove(["gone"], { force: false })).toEqual({
      untagged: ["localhost/gone:latest"],
      deleted: [gone.id],
    });
    expect(store.images().map(({ id }) => id)).toEqual([kept.id]);
    expect(layersThere()).toEqual(hexes(a));
    expect(blobsThere()).toEqual(hexes(kept.id));
  });

  test("by one of its names: only the name goes", async () => {
    const image = store.addImage(newImage([await addLayer(store, "a")], []));
    store.tag(nameOf("one"), image.id);
    store.tag(nameOf("two"), image.id);
    expect(await store.remove(["one"], { force: false })).toEqual({
      untagged: ["localhost/one:latest"],
      deleted: [],
    });
    expect(store.resolve("two").id).toBe(image.id);
    expect(await store.remove(["two:latest"], { force: false })).toMatchObject({ deleted: [image.id] });
  });

  test("by id: refused while it has several names, unless forced", async () => {
    const image = store.addImage(newImage([await addLayer(store, "a")], []));
    for (const name of ["one", "two"]) store.tag(nameOf(name), image.id);
    const id = hexOf(image.id).slice(0, 12);
    await expect(store.remove([id], { force: false })).rejects.toMatchObject({
      code: "in-use",
      message: expect.stringContaining("localhost/one:latest, localhost/two:latest"),
    });
    expect(store.names().size).toBe(2);
    const removed = await store.remove([id], { force: true });
    expect(removed).toEqual({
      untagged: ["localhost/one:latest", "localhost/two:latest"],
      deleted: [image.id],
    });
    expect([layersThere(), blobsThere()]).toEqual([[], []]);
  });

  test("all of several arguments or none", async () => {
    const image = store.addImage(newImage([await addLayer(store, "a")], []));
    for (const name of ["one", "two"]) store.tag(nameOf(name), image.id);
    await expect(store.remove(["one", "three"], { force: false })).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringContaining("three"),
    });
    expect(store.names().size).toBe(2);
    expect(await store.remove(["one", "two", hexOf(image.id)], { force: false })).toMatchObject({
      deleted: [image.id],
    });
  });

  test("takes steps with it that stood only below the image, and leaves those that others stand on", async () => {
    const [a, b, c, d] = [
      await addLayer(store, "a"),
      await addLayer(store, "b"),
      await addLayer(store, "c"),
      await addLayer(store, "d"),
    ];
    const step = { intermediate: true };
    const base = store.addImage(newImage([a], ["base"]));
    store.tag(nameOf("base"), base.id);
    const shared = store.addImage(newImage([a, b], ["base", "b"], step));
    const env = store.addImage(newImage([a, b], ["base", "b", "ENV x"], step));
    const own = store.addImage(newImage([a, b, c], ["base", "b", "ENV x", "c"], step));
    const first = store.addImage(newImage([a, b, c], ["base", "b", "ENV x", "c", "CMD"]));
    const second = store.addImage(newImage([a, b, d], ["base", "b", "d"]));
    const stray = store.addImage(newImage([a, d], ["base", "d"], step));
    store.tag(nameOf("first"), first.id);
    store.tag(nameOf("second"), second.id);
    await reopen();
    const removed = await store.remove(["first"], { force: false });
    expect(new Set(removed.deleted)).toEqual(new Set([first.id, own.id, env.id]));
    expect(new Set(store.images().map(({ id }) => id))).toEqual(
      new Set([base.id, shared.id, second.id, stray.id]),
    );
    expect(layersThere()).toEqual(hexes(a, b, d));
    expect((await store.remove(["second"], { force: false })).deleted).toEqual([second.id, shared.id]);
    expect(layersThere()).toEqual(hexes(a, d));
  });

  test("keeps what the manifest of a pulled image names", async () => {
    const a = await addLayer(store, "a");
    const blob = await addTestBlob(store, "compressed a");
    const image = newImage([a], []);
    const config = {
      mediaType: mediaTypes.ociConfig,
      digest: digestOf(image.config),
      size: image.config.length,
    };
    const manifest = store.blobs.addBytes(
      mediaTypes.ociManifest,
      Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [blob] })),
    );
    store.addImage({ ...image, manifest });
    const junk = store.addImage(newImage([], ["junk"]));
    await reopen();
    await store.remove([junk.id], { force: false });
    expect(blobsThere()).toEqual(hexes(config.digest, manifest.digest, blob.digest));
  });

  test("clears away layers and blobs that no image ever had", async () => {
    const image = store.addImage(newImage([], ["junk"]));
    await addLayer(store, "of a build that failed");
    await addTestBlob(store, "of a pull that failed");
    mkdirSync(join(root, "layers", hexOf(diffIdOf("half"))));
    await store.remove([image.id], { force: false });
    // What this store took in may still get its image.
    expect(layersThere().length).toBe(1);
    await reopen();
    await store.remove([store.addImage(newImage([], ["more junk"])).id], { force: false });
    expect([layersThere(), blobsThere()]).toEqual([[], []]);
  });

  test("an image without a name can be removed by a name that lost it", async () => {
    const image = store.addImage(newImage([], ["x"]));
    store.tag(nameOf("x"), image.id);
    rmSync(join(root, "images", `${hexOf(image.id)}.json`));
    expect(() => store.resolve("x")).toThrow(expect.objectContaining({ code: "not-found" }));
    expect(await store.remove(["x"], { force: false })).toEqual({
      untagged: ["localhost/x:latest"],
      deleted: [],
    });
  });

  test("clears away temporaries that were left in the cache long ago, and no others", async () => {
    mkdirSync(join(root, "cache/v1/ab"), { recursive: true });
    const [stale, young, file] = [".cooper-tmp-1-0123", ".cooper-tmp-2-0123", "key.json"].map((name) =>
      join(root, "cache/v1/ab", name),
    );
    for (const path of [stale, young, file]) writeFileSync(path ?? "", "x");
    for (const path of [stale, file]) execFileSync("touch", ["-d", "2 days ago", path ?? ""]);
    await store.remove([store.addImage(newImage([], ["junk"])).id], { force: false });
    expect(readdirSync(join(root, "cache/v1/ab")).toSorted()).toEqual([".cooper-tmp-2-0123", "key.json"]);
  });

  test("deletes trees that are hostile", async () => {
    const diffId = diffIdOf("deep");
    {
      await using staged = store.layers.stage();
      const script = `import os,sys
os.mkdir(sys.argv[1]); os.chdir(sys.argv[1])
for i in range(2000):
    os.mkdir(b"\\xff"); os.chdir(b"\\xff")`;
      execFileSync("python3", ["-c", script, join(staged.path, "tree")]);
      store.layers.adopt(diffId, "tree", join(staged.path, "tree"), { size: 1, hasEntries: true });
    }
    const image = store.addImage(newImage([diffId], []));
    await store.remove([image.id], { force: false });
    expect(layersThere()).toEqual([]);
  });
});

describe("a removal by somebody else", () => {
  test("leaves layers that are leased, until the lease is over", async () => {
    const a = await addLayer(store, "a");
    const image = store.addImage(newImage([a], []));
    await reopen();
    {
      await using _lease = other.lease([a]);
      await store.remove([image.id], { force: false });
      expect(layersThere()).toEqual(hexes(a));
      expect(other.layers.dir(a)).toBeDefined();
    }
    const junk = store.addImage(newImage([], ["junk"]));
    await store.remove([junk.id], { force: false });
    expect(layersThere()).toEqual([]);
  });

  test("leaves layers that are leased by the same store", async () => {
    const a = await addLayer(store, "a");
    const image = store.addImage(newImage([a], []));
    const lease = store.lease([a]);
    await store.remove([image.id], { force: false });
    expect(layersThere()).toEqual(hexes(a));
    await lease[Symbol.asyncDispose]();
    await lease[Symbol.asyncDispose]();
  });

  test("leaves what a build has taken in and not yet made an image of", async () => {
    const junk = store.addImage(newImage([], ["junk"]));
    const a = await addLayer(other, "a");
    const blob = await addTestBlob(other, "compressed a");
    await store.remove([junk.id], { force: false });
    other.layers.rememberBlob(a, blob);
    const image = other.addImage(newImage([a], []));
    other.tag(nameOf("built"), image.id);
    expect(store.resolve("built").id).toBe(image.id);
  });

  test("leaves what a build has looked up, and the build can name it all the same", async () => {
    const a = await addLayer(store, "a");
    const { id } = store.addImage(newImage([a], ["a"]));
    store.tag(nameOf("cached"), id);
    await reopen();
    expect(other.image(id)?.id).toBe(id);
    expect(await store.remove(["cached"], { force: false })).toMatchObject({ deleted: [id] });
    expect(layersThere()).toEqual(hexes(a));
    other.tag(nameOf("again"), id);
    expect(store.resolve("again").config.rootfs.diff_ids).toEqual([a]);
  });

  test("spares steps that a running build uses", async () => {
    const [a, b] = [await addLayer(store, "a"), await addLayer(store, "b")];
    const step = store.addImage(newImage([a], ["a"], { intermediate: true }));
    const image = store.addImage(newImage([a, b], ["a", "b"]));
    await reopen();
    other.image(step.id);
    expect((await store.remove([image.id], { force: false })).deleted).toEqual([image.id]);
    expect(store.image(step.id)?.id).toBe(step.id);
  });

  test("is waited for, even when its process is stopped; then the wait ends with a clear message (K4)", async () => {
    const a = await addLayer(store, "a");
    const image = store.addImage(newImage([a], []));
    const sleeper = spawn("sleep", ["1000"]);
    try {
      const stat = execFileSync("cat", [`/proc/${sleeper.pid}/stat`], { encoding: "utf8" });
      const start = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
      const [, , namespace, boot] =
        readdirSync(join(root, "locks"))
          .find((name) => name.endsWith(".uses"))
          ?.split("-") ?? [];
      const holder = `${sleeper.pid}-${start}-${namespace}-${boot}-0123456789ab`;
      sleeper.kill("SIGSTOP");
      mkdirSync(join(root, "locks/removal"));
      writeFileSync(join(root, "locks/removal", holder), "");
      expect(() => other.image(image.id)).toThrow(
        expect.objectContaining({
          code: "in-use",
          message: expect.stringContaining(`process ${sleeper.pid}`),
        }),
      );
    } finally {
      const gone = new Promise((resolve) => sleeper.once("exit", resolve));
      sleeper.kill("SIGKILL");
      await gone;
    }
    // Its holder is dead now: the lease is worth nothing.
    expect(other.image(image.id)?.id).toBe(image.id);
    expect(existsSync(join(root, "locks/removal"))).toBe(false);
  });

  test("F09: what dead processes say they use, and files that make no sense, keep nothing", async () => {
    const a = await addLayer(store, "a");
    const image = store.addImage(newImage([a], []));
    await reopen();
    // Our own pid, but another start: a pid that was used again.
    writeFileSync(
      join(root, "locks", `${process.pid}-1-4026531836-0-0123456789ab.uses`),
      `\n+layer ${hexOf(a)}\n`,
    );
    writeFileSync(join(root, "locks", `nonsense.uses`), `\n+layer ${hexOf(a)}\n`);
    await store.remove([image.id], { force: false });
    expect(layersThere()).toEqual([]);
  });
});
