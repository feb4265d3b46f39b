import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, hexOf, mediaTypes } from "../../src/image/index.js";
import type { FullReference } from "../../src/image/index.js";
import { checkStore } from "../../src/store/index.js";
import type { Store } from "../../src/store/index.js";
import {
  addLayer,
  addTarLayer,
  addTestBlob,
  diffIdOf,
  nameOf,
  newImage,
  openTestStore,
  scratchDirectory,
} from "./support.js";

let dir: string;
let root: string;
let store: Store;
beforeEach(() => {
  dir = scratchDirectory();
  root = join(dir, "store");
  store = openTestStore(root);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  expect(readdirSync(join(root, "tmp"))).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
});

describe("images and names", () => {
  test("an image comes back with its config, newest first", async () => {
    let clock = 1000;
    store = openTestStore(root, () => clock);
    const a = await addLayer(store, "a");
    const first = store.addImage(newImage([a], ["RUN a"]));
    clock = 2000;
    const second = store.addImage(newImage([a], ["RUN b"]));
    expect(store.image(first.id)).toEqual(first);
    expect(first).toMatchObject({
      storedAt: 1000,
      intermediate: false,
      config: { rootfs: { diff_ids: [a] } },
    });
    expect(store.images().map(({ id }) => id)).toEqual([second.id, first.id]);
    expect(store.image(digestOf("another"))).toBeUndefined();
    expect(await checkStore(store)).toEqual([]);
  });

  test("an image needs all its layers", async () => {
    const a = await addLayer(store, "a");
    const image = newImage([a, diffIdOf("b")], []);
    expect(() => store.addImage(image)).toThrow(
      expect.objectContaining({ code: "not-found", message: expect.stringContaining(diffIdOf("b")) }),
    );
    expect(store.images()).toEqual([]);
  });

  test("a step's result becomes an image when somebody means it, and never the other way round", async () => {
    const a = await addLayer(store, "a");
    const step = store.addImage(newImage([a], ["RUN a"], { intermediate: true }));
    expect(step.intermediate).toBe(true);
    expect(store.addImage(newImage([a], ["RUN a"])).intermediate).toBe(false);
    expect(store.addImage(newImage([a], ["RUN a"], { intermediate: true })).intermediate).toBe(false);
    expect(store.image(step.id)?.intermediate).toBe(false);
  });

  test("the manifest of a pulled image is kept, and must be its own", async () => {
    const a = await addLayer(store, "a");
    const blob = await addTestBlob(store, "compressed a");
    const image = newImage([a], []);
    const config = {
      mediaType: mediaTypes.ociConfig,
      digest: digestOf(image.config),
      size: image.config.length,
    };
    const manifestOf = (parts: object) =>
      store.blobs.addBytes(
        mediaTypes.ociManifest,
        Buffer.from(
          JSON.stringify({
            schemaVersion: 2,
            mediaType: mediaTypes.ociManifest,
            config,
            layers: [blob],
            ...parts,
          }),
        ),
      );
    const manifest = manifestOf({});
    const added = store.addImage({ ...image, manifest });
    expect(added.manifest).toEqual(manifest);
    expect(store.addImage(image).manifest).toEqual(manifest);
    expect(() => store.addImage({ ...image, manifest: manifestOf({ layers: [] }) })).toThrow(
      expect.objectContaining({ code: "corrupt" }),
    );
    const stranger = manifestOf({ config: { ...config, digest: digestOf("x") } });
    expect(() => store.addImage({ ...image, manifest: stranger })).toThrow(
      expect.objectContaining({ code: "corrupt" }),
    );
    const missing = { ...manifest, digest: digestOf("y") };
    expect(() => store.addImage({ ...image, manifest: missing })).toThrow(
      expect.objectContaining({ code: "not-found" }),
    );
  });

  test("names point to images, move, and go", async () => {
    const a = await addLayer(store, "a");
    const first = store.addImage(newImage([a], ["1"]));
    const second = store.addImage(newImage([a], ["2"]));
    store.tag(nameOf("hello"), first.id);
    store.tag(nameOf("registry.example.com:5000/team/app:v1"), first.id);
    store.tag(nameOf("hello"), second.id);
    expect([...store.names()]).toEqual([
      ["localhost/hello:latest", second.id],
      ["registry.example.com:5000/team/app:v1", first.id],
    ]);
    expect(store.untag(nameOf("hello"))).toBe(true);
    expect(store.untag(nameOf("hello"))).toBe(false);
    expect(store.names().size).toBe(1);
    expect(() => store.tag(nameOf("hello"), digestOf("nothing"))).toThrow(
      expect.objectContaining({ code: "not-found" }),
    );
  });

  test("a name too long for a file works all the same", async () => {
    const image = store.addImage(newImage([await addLayer(store, "a")], []));
    const long = `registry.example.com/${"a".repeat(120)}/${"b".repeat(120)}:${"c".repeat(128)}`;
    store.tag(nameOf(long), image.id);
    expect(store.names()).toEqual(new Map([[long, image.id]]));
    expect(store.resolve(long).id).toBe(image.id);
    expect(await checkStore(store)).toEqual([]);
  });

  test.each(["../../etc", "a\nb", "a/../b", "", ".", "\x1b[2J", "UPPER"])(
    "X10: the name %j stays out of paths",
    async (repository) => {
      const image = store.addImage(newImage([await addLayer(store, "a")], []));
      const name: FullReference = { registry: "localhost", repository, tag: "x" };
      expect(() => store.tag(name, image.id)).toThrow(expect.objectContaining({ code: "invalid-name" }));
      expect(() => store.untag(name)).toThrow(expect.objectContaining({ code: "invalid-name" }));
      expect(() => store.tag({ ...name, repository: "x", registry: ".." }, image.id)).toThrow(
        expect.objectContaining({ code: "invalid-name" }),
      );
      expect(readdirSync(join(root, "refs"))).toEqual([]);
    },
  );

  test("text of users finds names, then ids", async () => {
    const a = await addLayer(store, "a");
    const [one, two, three] = ["1", "2", "3"].map((step) => store.addImage(newImage([a], [step])));
    if (!one || !two || !three) throw new Error("no images");
    store.tag(nameOf("docker.io/library/alpine:3"), one.id);
    store.tag(nameOf("docker.io/library/alpine"), one.id);
    store.tag(nameOf("quay.io/team/tool"), two.id);
    store.tag(nameOf("ghcr.io/team/tool"), three.id);
    store.tag(nameOf("feed"), three.id);
    const found = (text: string) => store.resolve(text).id;
    expect(found("alpine")).toBe(one.id);
    expect(found("library/alpine:3")).toBe(one.id);
    expect(found("quay.io/team/tool")).toBe(two.id);
    expect(found("feed")).toBe(three.id);
    expect(found(one.id)).toBe(one.id);
    expect(found(hexOf(one.id))).toBe(one.id);
    expect(found(hexOf(two.id).slice(0, 12))).toBe(two.id);
    expect(() => found("team/tool")).toThrow(
      expect.objectContaining({
        code: "invalid-name",
        message: expect.stringContaining("ghcr.io/team/tool:latest, quay.io"),
      }),
    );
    for (const text of [
      "lpine",
      "alpine:4",
      "docker.io/alpine",
      "fff0",
      "sha256:alpine",
      "quay.io/library/alpine",
    ]) {
      expect(() => found(text), text).toThrow(expect.objectContaining({ code: "not-found" }));
    }
    expect(() => found("ab")).toThrow(expect.objectContaining({ code: "not-found" }));
    expect(() => found("No Name")).toThrow(expect.objectContaining({ code: "invalid-name" }));
  });

  test("an id prefix that two images share is refused", async () => {
    const a = await addLayer(store, "a");
    const seen = new Map<string, Uint8Array>();
    for (let i = 0; ; i += 1) {
      const image = newImage([a], [String(i)]);
      const prefix = hexOf(digestOf(image.config)).slice(0, 3);
      const other = seen.get(prefix);
      seen.set(prefix, image.config);
      if (!other) continue;
      const ids = [store.addImage(image).id, store.addImage({ ...image, config: other }).id];
      expect(() => store.resolve(prefix)).toThrow(expect.objectContaining({ code: "invalid-name" }));
      for (const id of ids) expect(store.resolve(hexOf(id)).id).toBe(id);
      break;
    }
  });

  test("name@digest finds what was pulled with that manifest", async () => {
    const a = await addTarLayer(store, "tar of a");
    const image = newImage([a], []);
    const config = {
      mediaType: mediaTypes.ociConfig,
      digest: digestOf(image.config),
      size: image.config.length,
    };
    const layers = [await addTestBlob(store, "compressed a")];
    const manifest = store.blobs.addBytes(
      mediaTypes.ociManifest,
      Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers })),
    );
    const { id } = store.addImage({ ...image, manifest });
    store.tag(nameOf("docker.io/library/alpine:3"), id);
    expect(store.resolve(`docker.io/library/alpine@${manifest.digest}`).id).toBe(id);
    expect(store.resolve(`alpine:3@${manifest.digest}`).id).toBe(id);
    expect(() => store.resolve(`alpine@${digestOf("other")}`)).toThrow(
      expect.objectContaining({ code: "not-found" }),
    );
    expect(await checkStore(store)).toEqual([]);
  });
});
