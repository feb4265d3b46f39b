import { execFileSync } from "node:child_process";
import { createReadStream, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { mediaTypes } from "../../src/image/index.js";
import type { DiffId } from "../../src/image/index.js";
import { testWith } from "../support/packages.js";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { failureOf, openRoom, opened } from "../snapshot/room.js";
import { forgeMember, forgeTar } from "../support/tar-forge.js";

const MIB = 1024 * 1024;

describe("L13: small archives that want much", () => {
  test("a huge long name or extended header is refused before it is read", async () => {
    for (const type of ["L", "K", "x", "g"]) {
      const header = forgeMember({ name: "x", type, size: 1024 * MIB }).subarray(0, 512);
      for (const door of Object.values(await attack(() => header)))
        expect(refused(door)).toMatchObject({
          code: "corrupt",
          error: expect.stringContaining("at most 1048576") as string,
        });
    }
  });

  test("sparse maps of any format are refused by name, not expanded", async () => {
    const map = Object.fromEntries([
      ["GNU.sparse.major", "1"],
      ["GNU.sparse.minor", "0"],
      ["GNU.sparse.name", "holes"],
      ["GNU.sparse.realsize", "10000000000"],
    ]);
    const doors = await attack(() => forgeTar([{ name: "GNUSparseFile.0/holes", pax: map }]));
    for (const door of Object.values(doors))
      expect(refused(door)).toMatchObject({
        code: "unsupported",
        error: expect.stringContaining('"holes" is stored as a sparse file') as string,
      });
  });

  test("a gzip of half a gigabyte of zeros is read in a stream: memory stays flat", async () => {
    await using room = openRoom();
    const path = join(room.dir, "bomb.gz");
    const size = 512 * MIB;
    const tar = `(head -c 512 ${join(room.dir, "header")}; head -c ${size} /dev/zero; head -c 1024 /dev/zero)`;
    const header = forgeMember({ name: "bomb", size }).subarray(0, 512);
    writeFileSync(join(room.dir, "header"), header);
    const sum = execFileSync("sh", ["-c", `${tar} | tee /dev/fd/3 3>&1 >/dev/null | sha256sum`], {
      encoding: "utf8",
    });
    execFileSync("sh", ["-c", `${tar} | gzip -1 > ${path}`]);
    expect(statSync(path).size).toBeLessThan(4 * MIB);
    const blob = await room.home.addBlob(mediaTypes.ociLayerGzip, createReadStream(path));
    let peak = 0;
    const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 5);
    const before = process.memoryUsage().rss;
    const info = await room.snapshots.register(blob, `sha256:${sum.slice(0, 64)}` as DiffId);
    clearInterval(timer);
    expect(info.size).toBe(size + 1536);
    expect(Math.max(peak, process.memoryUsage().rss) - before).toBeLessThan(128 * MIB);
  });

  test("gzip in gzip is no layer", async () => {
    const twice = gzipSync(gzipSync(forgeTar([{ name: "a" }])));
    const { layer, archive } = await attack(() => twice);
    expect(refused(layer).error).toContain("not a tar archive");
    expect(refused(archive).error).toContain("not a tar archive");
  });

  testWith(
    ["zstd", "xz"],
    "a frame that wants gigabytes of memory to be unpacked in is no archive",
    async () => {
      // A header that asks for a window of 2 GiB, and one block as it is. Source: RFC 8878 section 3.1.1.
      const tar = forgeTar([{ name: "a" }]);
      const block = Buffer.alloc(3);
      block.writeUIntLE(1 + (tar.length << 3), 0, 3);
      const zstd = Buffer.concat([Buffer.from("28b52ffd00a8", "hex"), block, tar]);
      expect(execFileSync("zstd", ["-dcq", "--long=31"], { input: zstd }).equals(tar)).toBe(true);
      // The same of xz: a dictionary of 1 GiB in the block's header, whose CRC32 is made right.
      const xz = execFileSync("xz", ["-c", "-T1"], { input: tar });
      xz[16] = 36;
      const sum = gzipSync(xz.subarray(12, 20)).subarray(-8, -4);
      sum.copy(xz, 20);
      for (const bytes of [zstd, xz]) {
        const { layer, archive, add, context } = await attack(() => bytes);
        for (const door of [layer, archive, context]) refused(door);
        expect(refused(archive).error).toMatch(/(zstd|xz) failed/);
        expect(accepted(add)).toEqual(["archive.tar"]);
      }
    },
  );

  test("several gzip members are one stream, and rubbish after them changes nothing", async () => {
    await using room = openRoom();
    const tar = forgeTar([{ name: "a", content: Buffer.alloc(5000, 1) }]);
    const bytes = Buffer.concat([gzipSync(tar.subarray(0, 3000)), gzipSync(tar.subarray(3000))]);
    expect((await room.pull(tar, { bytes, mediaType: mediaTypes.ociLayerGzip })).size).toBe(tar.length);
    const other = forgeTar([{ name: "b" }]);
    expect(
      (
        await room.pull(other, {
          bytes: Buffer.concat([gzipSync(other), Buffer.alloc(70_000)]),
          mediaType: mediaTypes.ociLayerGzip,
        })
      ).size,
    ).toBe(other.length);
  });

  testWith(["root", "mounts"], "a bomb stops before the disk is full, and leaves nothing", async () => {
    const mount = mkdtempSync(join(tmpdir(), "cooper-small-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=200m", "tmpfs", mount]);
    try {
      await using room = openRoom({ parent: mount });
      const tar = forgeTar([{ name: "bomb", content: Buffer.alloc(300 * MIB, 1) }]);
      const full = {
        code: "no-space",
        message: expect.stringContaining("exceeds the space that is left") as string,
      };
      const path = join(tmpdir(), `${mount.split("/").at(-1)}.tar.gz`);
      writeFileSync(path, gzipSync(tar, { level: 1 }));
      try {
        const file = opened(path);
        const listing = (async () => {
          for await (const change of room.snapshots.readArchive(file, "bomb.tar.gz"))
            expect(change.kind).toBe("add");
        })();
        expect(await failureOf(listing)).toMatchObject(full);
        file.close();
        const { diffId } = await room.pull(tar, {
          bytes: gzipSync(tar, { level: 1 }),
          mediaType: mediaTypes.ociLayerGzip,
        });
        expect(await failureOf(room.snapshots.prepare([diffId]))).toMatchObject(full);
        expect(await failureOf(room.snapshots.view([diffId]))).toMatchObject(full);
        expect(room.staged()).toEqual([]);
      } finally {
        rmSync(path);
      }
    } finally {
      // A stream that was given up closes its file a moment later.
      execFileSync("umount", ["--lazy", mount]);
      rmSync(mount, { recursive: true });
    }
  });
});
