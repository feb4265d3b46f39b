import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { digestOf, mediaTypes } from "../../src/image/index.js";
import type { DiffId } from "../../src/image/index.js";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { failureOf, openRoom } from "../snapshot/room.js";

describe("L17: layers that are no tar", () => {
  test("are refused at once, however they are packed, and not registered", async () => {
    const text = Buffer.from('NAME="Some Linux"\n'.repeat(100));
    const random = Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7919 + (i >> 3)) & 0xff));
    const packed = [
      text,
      random,
      gzipSync(text),
      gzipSync(random),
      execFileSync("xz", ["-c"], { input: text }),
      execFileSync("zstd", ["-qc"], { input: text }),
    ];
    for (const bytes of packed) {
      await using room = openRoom();
      const diffId = digestOf(text) as string as DiffId;
      const blob = await room.home.addBlob(mediaTypes.ociLayerGzip, Readable.from([bytes]));
      const error = await failureOf(room.snapshots.register(blob, diffId));
      expect(["corrupt", "unsupported"]).toContain(error.code);
      expect(room.snapshots.info(diffId)).toBeUndefined();
      expect(room.home.dir(diffId)).toBeUndefined();
      expect(readdirSync(room.dir)).toEqual(["store"]);
    }
  });

  test("are no context either, cannot be loaded, and ADD copies them as the files that they are", async () => {
    const text = Buffer.from('NAME="Some Linux"\n'.repeat(100));
    const random = Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7919 + (i >> 3)) & 0xff));
    for (const bytes of [random, gzipSync(random), gzipSync(text)]) {
      const { layer, add, context } = await attack(() => bytes);
      expect(refused(layer).code).toBe("corrupt");
      expect(accepted(add)).toEqual(["archive.tar"]);
      expect("error" in context || context.listing.length === 0).toBe(true);
    }
  });
});
