import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { mediaTypes } from "../../src/image/index.js";
import { bytesOfStream, diffIdOf, failureOf, file, openRoom } from "../snapshot/room.js";
import { forgeTar } from "../support/tar-forge.js";

const tar = forgeTar([{ name: "a", content: "x" }]);
const other = forgeTar([{ name: "b", content: "x" }]);

describe("L19: content that is not what its digest says", () => {
  test("a blob with the right digest and another DiffId is refused, and nothing is registered", async () => {
    await using room = openRoom();
    const blob = await room.home.addBlob(mediaTypes.ociLayerGzip, Readable.from([gzipSync(tar)]));
    const error = await failureOf(room.snapshots.register(blob, diffIdOf(other)));
    expect(error).toMatchObject({
      code: "corrupt",
      message: expect.stringContaining(diffIdOf(tar)) as string,
    });
    expect(room.snapshots.info(diffIdOf(other))).toBeUndefined();
    expect(room.home.dir(diffIdOf(other))).toBeUndefined();
  });

  test("bytes after the end of the tar count", async () => {
    await using room = openRoom();
    const longer = Buffer.concat([tar, Buffer.from("one more")]);
    const blob = await room.home.addBlob(mediaTypes.ociLayerGzip, Readable.from([gzipSync(longer)]));
    expect(await failureOf(room.snapshots.register(blob, diffIdOf(tar)))).toMatchObject({ code: "corrupt" });
    expect((await room.snapshots.register(blob, diffIdOf(longer))).size).toBe(longer.length);
    expect((await bytesOfStream(room.snapshots.tar(diffIdOf(longer)))).equals(longer)).toBe(true);
  });

  test("a damaged gzip stream is corrupt, wherever it is cut", async () => {
    const packed = gzipSync(
      forgeTar([{ name: "a", content: Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i) >> 4)) }]),
    );
    for (const bytes of [
      packed.subarray(0, 20),
      packed.subarray(0, packed.length - 1),
      Buffer.concat([packed.subarray(0, 300), Buffer.alloc(50), packed.subarray(350)]),
    ]) {
      await using room = openRoom();
      const blob = await room.home.addBlob(mediaTypes.ociLayerGzip, Readable.from([bytes]));
      expect(await failureOf(room.snapshots.register(blob, diffIdOf(tar)))).toMatchObject({
        code: "corrupt",
      });
    }
  });

  test("a tar or tree that was changed in the store is found out when it is read", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write([file("a", "content")]);
    const path = join(room.home.dir(diffId) ?? "", "tar");
    const bytes = readFileSync(path);
    bytes[600] = 0x21;
    writeFileSync(path, bytes);
    expect(await failureOf(bytesOfStream(room.snapshots.tar(diffId)))).toMatchObject({ code: "corrupt" });
    expect(await failureOf(room.overlay([diffId]))).toMatchObject({ code: "corrupt" });
    expect(await failureOf(room.snapshots.compressed(diffId, "gzip"))).toMatchObject({ code: "corrupt" });
    expect(room.home.blob(diffId)).toBeUndefined();
    await using rootfs = await room.overlay([]);
    writeFileSync(join(rootfs.upperDir, "f"), "made");
    const made = await room.snapshots.commit(rootfs);
    writeFileSync(join(room.home.dir(made.diffId) ?? "", "tree/f"), "evil");
    expect(await failureOf(bytesOfStream(room.snapshots.tar(made.diffId)))).toMatchObject({
      code: "corrupt",
    });
  });
});
