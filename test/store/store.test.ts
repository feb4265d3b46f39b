import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, hexOf, mediaTypes } from "../../src/image/index.js";
import type { Descriptor, Digest } from "../../src/image/index.js";
import { checkStore, openStore } from "../../src/store/index.js";
import type { Store } from "../../src/store/index.js";
import { addLayer, addTestBlob, collect, diffIdOf, openTestStore, scratchDirectory } from "./support.js";

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

describe("opening", () => {
  test("makes a private directory that backups leave out, and writes nothing into it when it is closed", async () => {
    expect(statSync(root).mode & 0o777).toBe(0o700);
    expect(readFileSync(join(root, "CACHEDIR.TAG"), "utf8")).toMatch(
      /^Signature: 8a477f597d28d172789f06886806bc55\n/,
    );
    await openTestStore(root)[Symbol.asyncDispose]();
    expect(readdirSync(join(root, "locks"))).toEqual(["ballast"]);
  });

  test("X13: closes a store that was left open to others", () => {
    rmSync(root, { recursive: true });
    mkdirSync(root, { mode: 0o755 });
    store = openTestStore(root);
    expect(statSync(root).mode & 0o777).toBe(0o700);
  });

  test("F09: refuses a newer format, and one that it cannot read", () => {
    writeFileSync(join(root, "format.json"), JSON.stringify({ version: 2, flavour: "root" }));
    expect(() => openTestStore(root)).toThrow(
      expect.objectContaining({ code: "store-version", message: expect.stringContaining("format 2") }),
    );
    for (const text of ["", "{", "[]", '{"version":1}', '{"version":"1","flavour":"root"}']) {
      writeFileSync(join(root, "format.json"), text);
      expect(() => openTestStore(root)).toThrow(expect.objectContaining({ code: "corrupt" }));
    }
  });

  test("refuses the other flavour, with a message that says which", () => {
    expect(() => openStore(root, { userNamespace: true })).toThrow(
      expect.objectContaining({ code: "store-version", message: expect.stringContaining("running as root") }),
    );
    const other = join(dir, "rootless");
    openStore(other, { userNamespace: true });
    expect(() => openTestStore(other)).toThrow(
      expect.objectContaining({
        code: "store-version",
        message: expect.stringContaining(
          process.geteuid?.() === 0
            ? "running as root without the right to mount (CAP_SYS_ADMIN), or in a user namespace; this one runs as root with"
            : "an ordinary user",
        ),
      }),
    );
  });

  test("refuses to make a store of a directory with other things in it, and leaves that as it is", () => {
    const home = join(dir, "home");
    mkdirSync(home, { mode: 0o755 });
    writeFileSync(join(home, "thesis.txt"), "x");
    expect(() => openTestStore(home)).toThrow(expect.objectContaining({ code: "usage" }));
    expect(readdirSync(home)).toEqual(["thesis.txt"]);
    expect(statSync(home).mode & 0o777).toBe(0o755);
  });

  test("makes again what may be deleted while nothing runs", () => {
    for (const name of ["cache", "tmp", "locks"]) rmSync(join(root, name), { recursive: true });
    store = openTestStore(root);
    expect(readdirSync(root)).toEqual(expect.arrayContaining(["cache", "tmp", "locks"]));
  });
});

describe("blobs", () => {
  const bytes = Buffer.from("some bytes");
  const descriptor: Descriptor = {
    mediaType: mediaTypes.ociLayer,
    digest: digestOf(bytes),
    size: bytes.length,
  };

  test("come back as they were written", async () => {
    expect(store.blobs.has(descriptor.digest)).toBe(false);
    await store.blobs.write(descriptor, Readable.from([bytes.subarray(0, 4), bytes.subarray(4)]));
    expect(store.blobs.has(descriptor.digest)).toBe(true);
    expect(await collect(store.blobs.read(descriptor))).toEqual(bytes);
    expect(await store.blobs.bytes(descriptor)).toEqual(bytes);
    expect(readFileSync(store.blobs.path(descriptor.digest))).toEqual(bytes);
  });

  test("are hashed when nobody knows their digest, and stored once", async () => {
    const first = await store.layers.addBlob(descriptor.mediaType, Readable.from([bytes]));
    const second = store.blobs.addBytes(descriptor.mediaType, bytes);
    expect([first, second]).toEqual([descriptor, descriptor]);
    expect(readdirSync(join(root, "blobs/sha256"))).toEqual([hexOf(descriptor.digest)]);
  });

  test.each([
    ["other bytes", Buffer.from("more bytes")],
    ["a byte too few", bytes.subarray(1)],
    ["a byte too many", Buffer.concat([bytes, Buffer.from("!")])],
    ["nothing", Buffer.alloc(0)],
  ])("are not stored when there are %s", async (_what, sent) => {
    const content = Readable.from([sent]);
    await expect(store.blobs.write(descriptor, content)).rejects.toMatchObject({
      code: "corrupt",
      message: expect.stringContaining(descriptor.digest),
    });
    expect(store.blobs.has(descriptor.digest)).toBe(false);
    expect(content.destroyed).toBe(true);
  });

  test("are checked although they are stored already", async () => {
    await store.blobs.write(descriptor, Readable.from([bytes]));
    await store.blobs.write(descriptor, Readable.from([bytes]));
    await expect(store.blobs.write(descriptor, Readable.from([Buffer.from("x")]))).rejects.toMatchObject({
      code: "corrupt",
    });
    expect(await store.blobs.bytes(descriptor)).toEqual(bytes);
  });

  test("take over the error of their source", async () => {
    const broken = Readable.from(
      (function* () {
        yield bytes;
        throw new Error("reset by peer");
      })(),
    );
    await expect(store.blobs.write(descriptor, broken)).rejects.toThrow("reset by peer");
    expect(store.blobs.has(descriptor.digest)).toBe(false);
  });

  test("stop when they are aborted", async () => {
    const abort = new AbortController();
    const endless = new Readable({ read() {} });
    endless.push(bytes);
    const writing = store.blobs.write({ ...descriptor, size: 1000 }, endless, abort.signal);
    setTimeout(() => abort.abort(), 20);
    await expect(writing).rejects.toMatchObject({ code: "aborted" });
    await expect(
      store.blobs.write(descriptor, Readable.from([bytes]), AbortSignal.abort()),
    ).rejects.toMatchObject({ code: "aborted" });
    expect(store.blobs.has(descriptor.digest)).toBe(false);
  });

  test("that are missing are not found at once", async () => {
    expect(() => store.blobs.read(descriptor)).toThrow(expect.objectContaining({ code: "not-found" }));
    await expect(store.blobs.bytes(descriptor)).rejects.toMatchObject({ code: "not-found" });
  });

  test("above 4 MiB are not read into memory", async () => {
    const big = await store.layers.addBlob(
      descriptor.mediaType,
      Readable.from([Buffer.alloc(4 * 1024 * 1024 + 1)]),
    );
    await expect(store.blobs.bytes(big)).rejects.toMatchObject({
      code: "corrupt",
      message: expect.stringContaining("4 MiB"),
    });
    expect((await collect(store.blobs.read(big))).length).toBe(big.size);
  });

  test("L20: a link in place of a blob is not followed", async () => {
    writeFileSync(join(dir, "shadow"), bytes);
    symlinkSync(join(dir, "shadow"), store.blobs.path(descriptor.digest));
    expect(store.blobs.has(descriptor.digest)).toBe(false);
    expect(() => store.blobs.read(descriptor)).toThrow(expect.objectContaining({ code: "corrupt" }));
    await store.blobs.write(descriptor, Readable.from([bytes]));
    expect(readFileSync(join(dir, "shadow"))).toEqual(bytes);
    expect(await store.blobs.bytes(descriptor)).toEqual(bytes);
  });

  test.each([
    "sha256:../../../../etc/passwd",
    "sha256:abc",
    `sha256:${"A".repeat(64)}`,
    `md5:${"a".repeat(64)}`,
    "..",
    `sha256:${"a".repeat(64)}/../x`,
  ])("R06: the digest %s does not become a path", async (text) => {
    const digest = text as Digest;
    expect(() => store.blobs.path(digest)).toThrow(expect.objectContaining({ code: "invalid-name" }));
    expect(() => store.blobs.has(digest)).toThrow(expect.objectContaining({ code: "invalid-name" }));
    expect(() => store.blobs.read({ ...descriptor, digest })).toThrow(
      expect.objectContaining({ code: "invalid-name" }),
    );
    expect(() => store.image(digest)).toThrow(expect.objectContaining({ code: "invalid-name" }));
    expect(() => store.layers.dir(digest as never)).toThrow(
      expect.objectContaining({ code: "invalid-name" }),
    );
    expect(() => store.lease([digest as never])).toThrow(expect.objectContaining({ code: "invalid-name" }));
    await expect(store.blobs.write({ ...descriptor, digest }, Readable.from([bytes]))).rejects.toMatchObject({
      code: "invalid-name",
    });
  });
});

describe("layers", () => {
  test("are registered by a form, and hold what was staged", async () => {
    const diffId = diffIdOf("a");
    expect(store.layers.dir(diffId)).toBeUndefined();
    await addLayer(store, "a");
    const layer = store.layers.dir(diffId);
    expect(layer).toBe(join(root, "layers", hexOf(diffId)));
    expect(readFileSync(join(layer ?? "", "tree/file"), "utf8")).toBe("a");
    expect(JSON.parse(readFileSync(join(layer ?? "", "layer.json"), "utf8"))).toEqual({
      diffId,
      size: 1,
      hasEntries: true,
    });
  });

  test("drop a form that is there already", async () => {
    const diffId = await addLayer(store, "a");
    await using staged = store.layers.stage();
    mkdirSync(join(staged.path, "tree"));
    writeFileSync(join(staged.path, "tree/file"), "second");
    store.layers.adopt(diffId, "tree", join(staged.path, "tree"), { size: 1, hasEntries: true });
    expect(readFileSync(join(store.layers.dir(diffId) ?? "", "tree/file"), "utf8")).toBe("a");
  });

  test("refuse a form from elsewhere", () => {
    mkdirSync(join(dir, "tree"));
    expect(() =>
      store.layers.adopt(diffIdOf("a"), "tree", join(dir, "tree"), { size: 0, hasEntries: false }),
    ).toThrow("was not staged");
    expect(existsSync(join(dir, "tree"))).toBe(true);
  });

  test("can be known by a blob alone, and get their facts later", async () => {
    const diffId = diffIdOf("a");
    const blob = await addTestBlob(store, "compressed a");
    store.layers.rememberBlob(diffId, blob);
    const layer = store.layers.dir(diffId) ?? "";
    expect(JSON.parse(readFileSync(join(layer, "layer.json"), "utf8"))).toEqual({ diffId });
    expect(store.layers.blob(diffId)).toEqual(blob);
    expect(store.layers.blob(diffId, "gzip")).toEqual(blob);
    expect(store.layers.blob(diffId, "zstd")).toBeUndefined();
    expect((await collect(store.layers.readBlob(blob))).toString()).toBe("compressed a");
    await addLayer(store, "a");
    expect(JSON.parse(readFileSync(join(layer, "layer.json"), "utf8"))).toEqual({
      diffId,
      size: 1,
      hasEntries: true,
    });
    expect(await checkStore(store)).toEqual([]);
  });

  test("do not remember a blob that is not there", () => {
    const blob = { mediaType: mediaTypes.ociLayer, digest: digestOf("x"), size: 1 };
    expect(() => store.layers.rememberBlob(diffIdOf("a"), blob)).toThrow(
      expect.objectContaining({ code: "not-found" }),
    );
    expect(store.layers.dir(diffIdOf("a"))).toBeUndefined();
  });

  test("forget a blob that was lost", async () => {
    const blob = await addTestBlob(store, "compressed a");
    store.layers.rememberBlob(diffIdOf("a"), blob);
    rmSync(store.blobs.path(blob.digest));
    expect(store.layers.blob(diffIdOf("a"))).toBeUndefined();
  });
});
