import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, hexOf, mediaTypes } from "../../src/image/index.js";
import type { Descriptor, DiffId } from "../../src/image/index.js";
import { checkStore } from "../../src/store/index.js";
import type { Store, StoredImage } from "../../src/store/index.js";
import {
  addTarLayer,
  addTestBlob,
  collect,
  nameOf,
  newImage,
  openTestStore,
  scratchDirectory,
} from "./support.js";

let dir: string;
let root: string;
beforeEach(() => {
  dir = scratchDirectory();
  root = join(dir, "store");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Made {
  readonly image: StoredImage;
  readonly layer: DiffId;
  readonly blob: Descriptor;
}

/** An image with one of every kind of file. */
async function make(store: Store, name: string): Promise<Made> {
  const layer = await addTarLayer(store, `tar of ${name}`);
  const blob = await addTestBlob(store, `compressed ${name}`);
  store.layers.rememberBlob(layer, blob);
  const image = newImage([layer], [name]);
  const config = {
    mediaType: mediaTypes.ociConfig,
    digest: digestOf(image.config),
    size: image.config.length,
  };
  const manifest = store.blobs.addBytes(
    mediaTypes.ociManifest,
    Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [blob] })),
  );
  const added = store.addImage({ ...image, manifest });
  store.tag(nameOf(name), added.id);
  return { image: added, layer, blob };
}

/** The files that belong to one image, by kind. */
function filesOf({ image, layer, blob }: Made, name: string): Readonly<Record<string, string>> {
  return {
    config: join("blobs/sha256", hexOf(image.id)),
    manifest: join("blobs/sha256", hexOf(image.manifest?.digest ?? image.id)),
    blob: join("blobs/sha256", hexOf(blob.digest)),
    record: join("images", `${hexOf(image.id)}.json`),
    ref: join("refs", encodeURIComponent(`localhost/${name}:latest`)),
    tar: join("layers", hexOf(layer), "tar"),
    "layer.json": join("layers", hexOf(layer), "layer.json"),
  };
}

const damages: Readonly<Record<string, (path: string) => void>> = {
  flipped: (path) => {
    const bytes = readFileSync(path);
    const middle = Math.floor(bytes.length / 2);
    bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
    writeFileSync(path, bytes);
  },
  truncated: (path) => {
    const fd = openSync(path, "r+");
    ftruncateSync(fd, 5);
    closeSync(fd);
  },
  emptied: (path) => writeFileSync(path, ""),
  deleted: (path) => rmSync(path),
  "made a link": (path) => {
    rmSync(path);
    symlinkSync("/etc/passwd", path);
  },
  "made a pipe": (path) => {
    rmSync(path);
    execFileSync("mkfifo", [path]);
  },
};

/** What a user does with an image, to its end. */
async function use(store: Store, name: string): Promise<void> {
  const image = store.resolve(name);
  if (image.manifest) await store.blobs.bytes(image.manifest);
  for (const diffId of image.config.rootfs.diff_ids) {
    if (!store.layers.dir(diffId))
      throw Object.assign(new Error(`layer ${diffId} is missing`), { code: "not-found" });
    const blob = store.layers.blob(diffId);
    if (blob) await collect(store.layers.readBlob(blob));
  }
}

describe.each(Object.keys(damages))("F08: a file that was %s", (damage) => {
  test.each(["config", "manifest", "blob", "record", "ref", "tar", "layer.json"])(
    "%s: is noticed, named, and no other image suffers",
    async (kind) => {
      const store = openTestStore(root);
      const [hurt, whole] = [await make(store, "hurt"), await make(store, "whole")];
      const file = filesOf(hurt, "hurt")[kind] ?? "";
      damages[damage]?.(join(root, file));

      const found = await checkStore(store);
      // A name, a tar or a blob that another form can replace may be gone without harm: whoever deleted it did so whole.
      const harmless = damage === "deleted" && ["ref", "tar", "blob", "record"].includes(kind);
      // Without its record an image does not exist; its name tells of it.
      if (!harmless || kind === "record") expect(found.length).toBeGreaterThan(0);
      const named = [
        hurt.image.id,
        hurt.layer,
        hurt.blob.digest,
        hurt.image.manifest?.digest,
        "localhost/hurt",
        "image hurt",
      ].map(String);
      for (const { object, problem } of found) {
        const text = decodeURIComponent(`${object} ${problem}`);
        expect(
          named.some((name) => text.includes(name)),
          text,
        ).toBe(true);
      }
      if (["config", "manifest", "record", "ref"].includes(kind)) {
        const failure: unknown = await use(store, "hurt").then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(failure).toMatchObject({
          name: "CooperError",
          code: expect.stringMatching(/^(?:corrupt|not-found)$/),
        });
        expect(
          named.some((name) => String((failure as Error).message).includes(name)),
          String(failure),
        ).toBe(true);
      }
      await use(store, "whole");
      expect(store.images().map(({ id }) => id)).toContain(whole.image.id);

      // Stored again, or removed, it is healed.
      if (damage === "flipped" || damage === "emptied" || damage === "deleted") {
        if (kind === "tar") return store[Symbol.asyncDispose]();
        await make(store, "hurt");
        await use(store, "hurt");
        expect(await checkStore(store)).toEqual([]);
      }
      await store[Symbol.asyncDispose]();
    },
  );
});

test("F08: reading a damaged blob fails at its end, and it can be stored again", async () => {
  const store = openTestStore(root);
  const { blob } = await make(store, "hurt");
  damages["flipped"]?.(store.blobs.path(blob.digest));
  await expect(collect(store.blobs.read(blob))).rejects.toMatchObject({
    code: "corrupt",
    message: expect.stringContaining(blob.digest),
    hint: expect.stringContaining("cooper rmi"),
  });
  expect(store.blobs.has(blob.digest)).toBe(false);
  await store.blobs.write(blob, Readable.from([Buffer.from("compressed hurt")]));
  expect((await collect(store.blobs.read(blob))).toString()).toBe("compressed hurt");
  await store[Symbol.asyncDispose]();
});

test("F08: an image whose record is damaged can be removed; until then nothing that it may need goes", async () => {
  const store = openTestStore(root);
  const [hurt] = [await make(store, "hurt"), await make(store, "whole")];
  await store[Symbol.asyncDispose]();
  damages["truncated"]?.(join(root, filesOf(hurt, "hurt")["record"] ?? ""));
  const later = openTestStore(root);
  await later.remove(["whole"], { force: false });
  expect(existsSync(join(root, "layers", hexOf(hurt.layer)))).toBe(true);
  const reasons: string[] = [];
  expect(later.images((id, reason) => reasons.push(`${id} ${reason}`))).toEqual([]);
  expect(reasons).toEqual([expect.stringContaining(hurt.image.id)]);
  expect(await later.remove([hexOf(hurt.image.id)], { force: true })).toEqual({
    untagged: ["localhost/hurt:latest"],
    deleted: [hurt.image.id],
  });
  expect([readdirSync(join(root, "layers")), readdirSync(join(root, "blobs/sha256"))]).toEqual([[], []]);
  await later[Symbol.asyncDispose]();
});

describe("F05: a full disk", () => {
  /** Runs a test on a file system of its own, which is not removed with the directory by accident. */
  async function onTmpfs(options: string, test: (mounted: string) => Promise<void>): Promise<void> {
    const mounted = join(dir, "disk");
    mkdirSync(mounted);
    execFileSync("mount", ["-t", "tmpfs", "-o", `${options},mode=0700`, "tmpfs", mounted]);
    try {
      await test(mounted);
    } finally {
      execFileSync("umount", ["-l", mounted]);
    }
  }

  const sizes = [192, 256, 320, 384, 448, 512, 640, 768, 1024].map((kib) => [`size=${kib}k`]);
  const inodes = [30, 32, 35, 38, 41, 44, 47, 50, 55, 60].map((count) => [`nr_inodes=${count}`]);
  test.each([...sizes, ...inodes])(
    "%s: says so, keeps what was there, and lets images be removed",
    (options) =>
      onTmpfs(options, async (mounted) => {
        const store = openTestStore(join(mounted, "store"));
        const before: string[] = [];
        let failure: unknown;
        try {
          for (let i = 0; i < 40; i += 1) {
            const layer = await addTarLayer(store, `${i} `.repeat(8000));
            store.layers.rememberBlob(layer, await addTestBlob(store, `compressed ${i} `.repeat(2000)));
            const image = store.addImage(newImage([layer], [String(i)]));
            store.tag(nameOf(`image:${i}`), image.id);
            before.push(`image:${i}`);
          }
        } catch (error) {
          failure = error;
        }
        if (failure instanceof Error && failure.name !== "CooperError")
          expect(failure).toMatchObject({ code: "ENOSPC" });
        else
          expect(failure).toMatchObject({
            code: "no-space",
            message: expect.stringContaining("no space left on device"),
          });
        expect(await checkStore(store)).toEqual([]);
        for (const name of before) await use(store, name);
        // To the last byte and inode.
        try {
          for (let i = 0; ; i += 1) writeFileSync(join(mounted, `filler-${i}`), Buffer.alloc(64 * 1024));
        } catch {
          // Full.
        }
        const [first] = before;
        if (first !== undefined) {
          await store.remove([first], { force: false });
          expect(() => store.resolve(first)).toThrow(expect.objectContaining({ code: "not-found" }));
        }
        expect(await checkStore(store)).toEqual([]);
        await store[Symbol.asyncDispose]();
      }),
  );
});

test("K3: a store on a read-only disk can be read", async () => {
  const made = openTestStore(root);
  await make(made, "whole");
  await made[Symbol.asyncDispose]();
  const mounted = join(dir, "disk");
  mkdirSync(mounted);
  execFileSync("mount", ["--bind", root, mounted]);
  execFileSync("mount", ["-o", "remount,bind,ro", mounted]);
  try {
    const store = openTestStore(mounted);
    await use(store, "whole");
    expect(store.images().length).toBe(1);
    expect(() => store.tag(nameOf("more"), store.resolve("whole").id)).toThrow(
      expect.objectContaining({ code: "io", message: expect.stringContaining("read-only") }),
    );
    await expect(store.remove(["whole"], { force: false })).rejects.toMatchObject({ code: "io" });
    await store[Symbol.asyncDispose]();
  } finally {
    execFileSync("umount", [mounted]);
  }
});

test("K3, X13: another user gets a clear refusal, and sees nothing", async () => {
  const store = openTestStore(root);
  await make(store, "whole");
  await store[Symbol.asyncDispose]();
  chmodSync(dir, 0o755);
  const listed = (): string =>
    execFileSync("setpriv", ["--reuid=65534", "--clear-groups", "ls", root], {
      encoding: "utf8",
      stdio: "pipe",
    });
  expect(listed).toThrow(/Permission denied/);
  execFileSync("chown", ["65534", root]);
  expect(() => openTestStore(root)).toThrow(
    expect.objectContaining({
      code: "store-version",
      message: expect.stringContaining("belongs to user 65534"),
    }),
  );
  execFileSync("chown", ["0", root]);
  cpSync(root, join(dir, "copy"), { recursive: true });
  expect(await checkStore(openTestStore(join(dir, "copy")))).toEqual([]);
});
