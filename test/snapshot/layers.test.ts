import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { resolvePath } from "../../src/fs/index.js";
import type { BytePath } from "../../src/fs/index.js";
import { digestOf, mediaTypes } from "../../src/image/index.js";
import type { DiffId } from "../../src/image/index.js";
import type { Change } from "../../src/snapshot/index.js";
import { gzip } from "../../src/snapshot/gzip.js";
import { zstdOf } from "../../src/snapshot/layer-stream.js";
import { forgeTar } from "../support/tar-forge.js";
import {
  bytesOfStream,
  diffIdOf,
  dir,
  failureOf,
  file,
  node,
  opaque,
  openRoom,
  opened,
  whiteout,
} from "./room.js";

/** A change whose content is a file on disk. */
function fromDisk(path: string, name: string, size: number): Change {
  const change = file(name, "", { size });
  return { ...change, content: () => ({ ...opened(path), size }) } as Change;
}

describe("a file that changes while it is written into a layer", () => {
  let scratch = "";
  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), "cooper-changing-"));
  });
  afterEach(() => rmSync(scratch, { recursive: true }));

  test.each([
    ["shrunk", 1000, 999],
    ["gone empty", 1000, 0],
    ["grown", 1000, 1001],
    ["grown from nothing", 65_024, 65_025],
    ["large and shrunk", 300_000, 299_999],
    ["large and grown", 300_000, 300_001],
    ["large and grown by a chunk", 65_536 * 4, 65_536 * 5],
  ])("is an error when it has %s", async (_, listed, actual) => {
    await using room = openRoom();
    const path = join(scratch, "f");
    writeFileSync(path, Buffer.alloc(actual, 1));
    const change = {
      ...file("f", "", { size: listed }),
      content: () => ({ ...opened(path), size: listed }),
    } as Change;
    const error = await failureOf(room.snapshots.write([change]));
    expect(error).toMatchObject({ code: "context", message: '"f" changed while it was read' });
    expect(room.staged()).toEqual([]);
  });

  test("is an error when the opened file says so, or bytes in memory do not match", async () => {
    await using room = openRoom();
    const path = join(scratch, "f");
    writeFileSync(path, "12345");
    expect(
      await failureOf(
        room.snapshots.write([{ ...file("f", "", { size: 4 }), content: () => opened(path) } as Change]),
      ),
    ).toMatchObject({ code: "context" });
    expect(
      await failureOf(
        room.snapshots.write([
          { ...file("f", "", { size: 4 }), content: () => Buffer.from("12345") } as Change,
        ]),
      ),
    ).toMatchObject({ code: "context" });
  });

  test("is an error when it is written to in the middle", async () => {
    await using room = openRoom();
    const path = join(scratch, "f");
    writeFileSync(path, Buffer.alloc(300_000, 1));
    const change = fromDisk(path, "f", 300_000) as Extract<Change, { kind: "add" }>;
    const content = (): ReturnType<NonNullable<typeof change.content>> => {
      const fd = openSync(path, "r+");
      return {
        get fd() {
          // Each read finds the file changed a little later.
          writeSync(fd, "x", 5);
          return fd;
        },
        offset: 0,
        size: 300_000,
        close: () => closeSync(fd),
      };
    };
    const error = await failureOf(room.snapshots.write([{ ...change, content }]));
    expect(error).toMatchObject({ code: "context" });
  });
});

describe("writing", () => {
  test("the same changes give the same layer, stored once", async () => {
    await using room = openRoom();
    const changes = [dir("a"), file("a/b", "x"), node("symlink", "l", { target: "a" })];
    const first = await room.snapshots.write(changes);
    expect(await room.snapshots.write(changes)).toEqual(first);
    expect(room.snapshots.info(first.diffId)).toEqual(first);
    expect(first).toMatchObject({ hasEntries: true, implicitDirs: [""], opaqueDirs: [], xattrPaths: [] });
    expect(room.staged()).toEqual([]);
  });

  test("facts survive a restart", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write([
      file("x/y", "1"),
      dir("z"),
      opaque("z"),
      node("dir", "zz", { xattrs: new Map([["user.a", Buffer.from("b")]]) }),
    ]);
    const json = JSON.parse(readFileSync(join(room.home.dir(diffId) ?? "", "layer.json"), "utf8")) as object;
    expect(json).toMatchObject({
      diffId,
      hasEntries: true,
      implicitDirs: ["", "x"],
      opaqueDirs: ["z"],
      xattrPaths: ["zz"],
    });
  });

  test("can be interrupted, in the middle too", async () => {
    await using room = openRoom();
    const abort = new AbortController();
    function* endless(): Generator<Change> {
      for (let i = 0; i < 1_000_000; i += 1) yield file(`f${i}`, Buffer.alloc(1000));
    }
    setTimeout(() => abort.abort(), 100);
    expect(await failureOf(room.snapshots.write(endless(), abort.signal))).toMatchObject({ code: "aborted" });
    expect(room.staged()).toEqual([]);
  });

  test("names and attributes that a tar would misread are refused", async () => {
    await using room = openRoom();
    expect(await failureOf(room.snapshots.write([file("a/.wh.b")]))).toMatchObject({ code: "unsupported" });
    expect(
      await failureOf(
        room.snapshots.write([file("a", "", { xattrs: new Map([["user.a=b", Buffer.from("")]]) })]),
      ),
    ).toMatchObject({ code: "unsupported" });
    expect(await failureOf(room.snapshots.write([file("a", "", { uid: 2 ** 32 - 1 })]))).toMatchObject({
      code: "unsupported",
    });
  });
});

describe("a stack that is only read", () => {
  test("never follows a link, in any component", async () => {
    await using room = openRoom();
    const below = await room.snapshots.write([
      dir("real"),
      file("real/f", "real"),
      node("symlink", "link", { target: "real" }),
      node("symlink", "out", { target: "/etc" }),
    ]);
    const stacks = [[below.diffId]];
    for (const stack of stacks) {
      using view = await room.snapshots.view(stack);
      expect(view.lstat("link/f" as BytePath)).toBeUndefined();
      expect(view.lstat("out/passwd" as BytePath)).toBeUndefined();
      expect(view.list("out" as BytePath)).toEqual([]);
      expect(view.list("real/f" as BytePath)).toEqual([]);
      expect(view.lstat("real/f/g" as BytePath)).toBeUndefined();
      const found = view.lstat(resolvePath(view, "link/f" as BytePath, { followLast: true }));
      expect(found && view.digest(found)).toBe(digestOf("real"));
    }
    await room.tree(below.diffId);
    using byTree = await room.snapshots.view([below.diffId]);
    expect(byTree.lstat("link/f" as BytePath)).toBeUndefined();
    expect(byTree.lstat("out/passwd" as BytePath)).toBeUndefined();
    expect(byTree.list("out" as BytePath)).toEqual([]);
  });

  test("merges as overlayfs does: types replaced, whiteouts, opaque directories", async () => {
    await using room = openRoom();
    const stack: DiffId[] = [];
    const layers: Change[][] = [
      [dir("a"), file("a/1", "1"), file("b", "file"), dir("c"), dir("c/d"), file("c/d/e", "deep")],
      [file("a", "now a file"), dir("b"), file("b/2", "2"), dir("c"), whiteout("c/d")],
      [dir("a"), file("a/3", "3"), dir("c"), dir("c/d"), file("c/d/f", "new")],
      [dir("b"), opaque("b"), file("b/4", "4")],
    ];
    const expected = [
      ["a", "b", "c"],
      ["a", "b", "c"],
      ["a", "b", "c"],
      ["a", "b", "c"],
    ];
    const inside = [
      ["1|", "", "d|"],
      ["", "2|", ""],
      ["3|", "2|", "d|"],
      ["3|", "4|", "d|"],
    ];
    for (const [i, changes] of layers.entries()) {
      stack.push((await room.snapshots.write(changes)).diffId);
      using view = await room.snapshots.view(stack);
      expect(view.list("" as BytePath)).toEqual(expected[i]);
      expect(
        ["a", "b", "c"].map((name) =>
          view
            .list(name as BytePath)
            .map((one) => `${one}|`)
            .join(""),
        ),
      ).toEqual(inside[i]);
    }
    using view = await room.snapshots.view(stack);
    expect(view.list("c/d" as BytePath)).toEqual(["f"]);
    expect(view.lstat("c/d/e" as BytePath)).toBeUndefined();
    expect(view.lstat("b/2" as BytePath)).toBeUndefined();
  });

  test("an empty stack has an empty root", async () => {
    await using room = openRoom();
    using view = await room.snapshots.view([]);
    expect(view.lstat("" as BytePath)).toMatchObject({ type: "dir", mode: 0o755, uid: 0 });
    expect(view.list("" as BytePath)).toEqual([]);
    expect(view.lstat("x" as BytePath)).toBeUndefined();
  });

  test("contents come out of a tar in place, and stay the reader's own", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write([file("a", "first"), file("b", "second")]);
    const view = await room.snapshots.view([diffId]);
    const entry = view.lstat("b" as BytePath);
    if (!entry) throw new Error("no entry");
    const content = view.open(entry);
    view[Symbol.dispose]();
    expect(content.offset).toBeGreaterThan(0);
    expect(content.size).toBe(6);
    const { diffId: copy } = await room.snapshots.write([{ kind: "add", entry, content: () => content }]);
    using again = await room.snapshots.view([copy]);
    expect(again.digest(entry)).toBe(digestOf("second"));
    expect(
      await failureOf(Promise.resolve().then(() => again.open({ ...entry, path: "gone" as BytePath }))),
    ).toMatchObject({ code: "context" });
  });

  test("of a pulled layer makes its tar, and a second look makes nothing", async () => {
    await using room = openRoom();
    const tar = forgeTar([{ name: "etc/" }, { name: "etc/passwd", content: "root" }]);
    const { diffId } = await room.pull(tar, { bytes: gzipSync(tar), mediaType: mediaTypes.ociLayerGzip });
    expect(readdirSync(room.home.dir(diffId) ?? "")).not.toContain("tar");
    for (let i = 0; i < 2; i += 1) {
      using view = await room.snapshots.view([diffId]);
      const entry = view.lstat("etc/passwd" as BytePath);
      expect(entry && view.digest(entry)).toBe(digestOf("root"));
    }
    expect(readdirSync(room.home.dir(diffId) ?? "")).toContain("tar");
  });

  test("of layers that nobody has is an error that names them", async () => {
    await using room = openRoom();
    const nobody = `sha256:${"0".repeat(64)}` as DiffId;
    expect(await failureOf(room.snapshots.view([nobody]))).toMatchObject({
      code: "not-found",
      message: expect.stringContaining("000000000000") as string,
    });
    expect(await failureOf(room.overlay([nobody]))).toMatchObject({ code: "not-found" });
    expect(await failureOf(bytesOfStream(room.snapshots.tar(nobody)))).toMatchObject({ code: "not-found" });
    expect(room.snapshots.info(nobody)).toBeUndefined();
  });

  test("500 layers are the most that can be stacked", async () => {
    await using room = openRoom();
    const ids: DiffId[] = [];
    for (let i = 0; i < 20; i += 1) ids.push((await room.snapshots.write([file(`f${i}`, String(i))])).diffId);
    const stack = Array.from({ length: 500 }, (_, i) => ids[i % 20] as DiffId);
    await using rootfs = await room.overlay(stack);
    expect(rootfs.lowerDirs).toHaveLength(20);
    expect(await failureOf(room.snapshots.prepare([...stack, ids[0] as DiffId]))).toMatchObject({
      code: "unsupported",
    });
  });
});

describe("blobs of a layer", () => {
  const changes = [
    dir("d"),
    ...Array.from({ length: 400 }, (_, i) =>
      file(`d/f${String(i).padStart(4, "0")}`, Buffer.from(`line ${i}\n`.repeat(1000))),
    ),
  ];

  test("gzip: one member that gunzip and our register read, the same each time, made once", async () => {
    await using room = openRoom();
    const info = await room.snapshots.write(changes);
    const tar = await bytesOfStream(room.snapshots.tar(info.diffId));
    const [one, two] = await Promise.all([
      room.snapshots.compressed(info.diffId, "gzip"),
      room.snapshots.compressed(info.diffId, "gzip"),
    ]);
    expect(two).toEqual(one);
    expect(one.mediaType).toBe(mediaTypes.ociLayerGzip);
    const packed = await bytesOfStream(room.home.readBlob(one));
    expect(packed.length).toBe(one.size);
    expect(gunzipSync(packed).equals(tar)).toBe(true);
    expect(execFileSync("gzip", ["-dc"], { input: packed, maxBuffer: 1 << 30 }).equals(tar)).toBe(true);
    expect(packed.length).toBeLessThan(gzipSync(tar, { level: 5 }).length * 1.03);
    await using other = openRoom();
    const same = await other.snapshots.write(changes);
    expect((await other.snapshots.compressed(same.diffId, "gzip")).digest).toBe(one.digest);
    await using third = openRoom();
    expect((await third.pull(tar, { bytes: packed, mediaType: one.mediaType })).size).toBe(tar.length);
    expect((await third.snapshots.compressed(same.diffId, "gzip")).digest).toBe(one.digest);
  });

  test("none: the tar itself", async () => {
    await using room = openRoom();
    const { diffId, size } = await room.snapshots.write(changes);
    const blob = await room.snapshots.compressed(diffId, "none");
    expect(blob).toEqual({ mediaType: mediaTypes.ociLayer, digest: diffId, size });
  });

  test("zstd: where this Node has it, else a clear refusal", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write(changes);
    if (zstdOf().createZstdCompress === undefined) {
      expect(await failureOf(room.snapshots.compressed(diffId, "zstd"))).toMatchObject({
        code: "unsupported",
        message: expect.stringContaining("Node 22.15") as string,
      });
      return;
    }
    const blob = await room.snapshots.compressed(diffId, "zstd");
    const tar = execFileSync("zstd", ["-dc"], {
      input: await bytesOfStream(room.home.readBlob(blob)),
      maxBuffer: 1 << 30,
    });
    expect(diffIdOf(tar)).toBe(diffId);
  });

  test.each([0, 1, 100, 524_287, 524_288, 524_289, 1_048_576, 3_000_000])(
    "gzip of %i bytes comes back, however it was cut into chunks",
    async (length) => {
      const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 31 + (i >> 9)) & 0xff));
      const outputs: Buffer[] = [];
      for (const cut of [65_536, 1000, 700_001]) {
        const source = async function* (): AsyncGenerator<Buffer> {
          for (let at = 0; at < length; at += cut) yield bytes.subarray(at, at + cut);
        };
        const parts: Buffer[] = [];
        for await (const chunk of gzip(source())) parts.push(chunk);
        outputs.push(Buffer.concat(parts));
      }
      expect(gunzipSync(outputs[0] ?? Buffer.alloc(0)).equals(bytes)).toBe(true);
      expect(outputs.every((output) => output.equals(outputs[0] as Buffer))).toBe(true);
    },
  );

  test("a reader that stops early leaves nothing open", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write(changes);
    const before = readdirSync("/proc/self/fd").length;
    for await (const chunk of room.snapshots.tar(diffId)) {
      expect((chunk as Buffer).length).toBeGreaterThan(0);
      break;
    }
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});
