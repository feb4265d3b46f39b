import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import type { Change } from "../../src/snapshot/index.js";
import { endOfMembers } from "../../src/snapshot/gzip-members.js";
import { testWith } from "../support/packages.js";
import { forgeTar } from "../support/tar-forge.js";
import { failureOf, openRoom, opened } from "./room.js";
import type { Room } from "./room.js";

type Added = Extract<Change, { kind: "add" }>;

async function readAll(room: Room, path: string, signal?: AbortSignal): Promise<readonly Added[]> {
  const file = opened(path);
  const found: Added[] = [];
  try {
    for await (const change of room.snapshots.readArchive(file, "some.tar", signal))
      if (change.kind === "add") found.push(change);
  } finally {
    // As the builder does: contents are read long after.
    file.close();
  }
  return found;
}

function contentOf(change: Added): string {
  const content = change.content?.();
  if (!content) return "";
  if (content instanceof Uint8Array) return Buffer.from(content).toString();
  const bytes = Buffer.alloc(content.size);
  readSync(content.fd, bytes, 0, content.size, content.offset);
  content.close();
  return bytes.toString();
}

const tar = forgeTar([
  { name: "./" },
  { name: "z/" },
  { name: "z/one", content: "1", uid: 5, mode: 0o4755 },
  { name: "a", content: "first" },
  { name: "link", type: "1", linkName: "a" },
  { name: "./deep//er", type: "1", linkName: "./link" },
  { name: "soft", type: "2", linkName: "../x" },
  { name: "a", content: "second" },
]);

function pack(program: string, bytes: Buffer): Buffer {
  return program === "gzip"
    ? gzipSync(bytes)
    : execFileSync(program, ["-c"], { input: bytes, stdio: ["pipe", "pipe", "ignore"] });
}

describe("an archive for ADD", () => {
  test.each([false, true])(
    "gives its members in its order, readable after the file was closed (compressed: %s)",
    async (compressed) => {
      await using room = openRoom();
      const path = join(room.dir, "x");
      writeFileSync(path, compressed ? gzipSync(tar) : tar);
      const found = await readAll(room, path);
      rmSync(path);
      expect(found.map(({ entry }) => entry.path)).toEqual([
        "z",
        "z/one",
        "a",
        "link",
        "deep/er",
        "soft",
        "a",
      ]);
      expect(found[1]?.entry).toMatchObject({ uid: 5, mode: 0o4755, size: 1, type: "file" });
      const ids = found.map(({ entry }) => entry.linkId);
      expect(ids[2]).toBeDefined();
      expect(new Set([ids[2], ids[3], ids[4]]).size).toBe(1);
      expect(ids[6]).not.toBe(ids[2]);
      expect(found[3] && contentOf(found[3])).toBe("first");
      expect(found[6] && contentOf(found[6])).toBe("second");
      expect(found[1] && contentOf(found[1])).toBe("1");
      expect(room.staged()).toEqual([]);
    },
  );

  test("closes what it holds once every content was read", async () => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(
      path,
      gzipSync(
        forgeTar([
          { name: "a", content: "1" },
          { name: "b", content: "2" },
        ]),
      ),
    );
    const found = await readAll(room, path);
    const before = readdirSync("/proc/self/fd").length;
    expect(found.map(contentOf)).toEqual(["1", "2"]);
    expect(readdirSync("/proc/self/fd").length).toBe(before - 1);
  });

  test("becomes a layer with its hard links", async () => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(
      path,
      forgeTar([
        { name: "a", content: "first" },
        { name: "b", type: "1", linkName: "a" },
      ]),
    );
    const { diffId } = await room.snapshots.write(await readAll(room, path));
    using view = await room.snapshots.view([diffId]);
    expect(view.lstat("a" as BytePath)?.linkId).toBe(view.lstat("b" as BytePath)?.linkId);
    expect(view.lstat("b" as BytePath)?.size).toBe(5);
  });

  test.each(["gzip", "bzip2", "xz", "zstd"])("may be packed with %s", async (program) => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(path, pack(program, tar));
    const found = await readAll(room, path);
    expect(found).toHaveLength(7);
    for (const change of found) contentOf(change);
    const file = opened(path);
    expect(room.snapshots.isArchive(file)).toBe(true);
    file.close();
  });

  test.each([
    ["one member", gzipSync(tar)],
    ["two members", Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))])],
    ["a name in its header", execFileSync("gzip", ["-c", "--name", "package.json"])],
  ])("may be gzip of %s with other bytes behind it", async (what, packed) => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(path, Buffer.concat([packed, Buffer.from("a signature\n".repeat(20_000))]));
    const file = opened(path);
    const isTar = !what.includes("name");
    expect(room.snapshots.isArchive(file)).toBe(isTar);
    expect(await endOfMembers(file)).toBe(packed.length);
    file.close();
    if (isTar) expect((await readAll(room, path)).map(contentOf)).toHaveLength(7);
    expect(room.staged()).toEqual([]);
  });

  test.each(["gzip", "bzip2", "xz", "zstd"])("that is damaged %s is corrupt", async (program) => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    const bytes = pack(
      program,
      forgeTar([
        { name: "a", content: Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i) >> 5)) },
      ]),
    );
    for (const damaged of [
      bytes.subarray(0, bytes.length - 10),
      Buffer.concat([bytes.subarray(0, 200), Buffer.alloc(100, 0xff), bytes.subarray(300)]),
    ]) {
      writeFileSync(path, damaged);
      expect(await failureOf(readAll(room, path))).toMatchObject({ name: "CooperError", code: "corrupt" });
      expect(room.staged()).toEqual([]);
    }
  });

  test("may lie inside another file", async () => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(path, Buffer.concat([Buffer.alloc(1000, 9), tar, Buffer.alloc(1000, 9)]));
    const whole = opened(path);
    const file = { ...whole, offset: 1000, size: tar.length };
    expect(room.snapshots.isArchive(file)).toBe(true);
    expect(room.snapshots.isArchive({ ...whole, offset: 999, size: tar.length })).toBe(false);
    const found: Added[] = [];
    for await (const change of room.snapshots.readArchive(file, "x"))
      if (change.kind === "add") found.push(change);
    whole.close();
    expect(found.map(contentOf)).toEqual(["", "1", "first", "first", "first", "", "second"]);
  });

  test("can be interrupted", async () => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(path, gzipSync(tar));
    expect(await failureOf(readAll(room, path, AbortSignal.abort()))).toMatchObject({ code: "aborted" });
    expect(room.staged()).toEqual([]);
  });

  testWith(
    ["root"],
    "is unpacked by programs of the host, never by those of a PATH that somebody else set",
    async () => {
      await using room = openRoom();
      const bin = join(room.dir, "bin");
      mkdirSync(bin);
      for (const program of ["xz", "bzip2", "zstd", "gzip", "tar"]) {
        writeFileSync(join(bin, program), `#!/bin/sh\ntouch ${room.dir}/PWNED\n`);
        chmodSync(join(bin, program), 0o755);
      }
      const path = join(room.dir, "x");
      writeFileSync(path, pack("xz", tar));
      const before = process.env["PATH"];
      process.env["PATH"] = bin;
      try {
        const found = await readAll(room, path);
        expect(found).toHaveLength(7);
        for (const change of found) contentOf(change);
      } finally {
        process.env["PATH"] = before;
      }
      expect(readdirSync(room.dir)).not.toContain("PWNED");
    },
  );
});

describe("whether ADD unpacks a file", () => {
  test.each([
    ["a tar", tar, true],
    ["a gzipped tar", gzipSync(tar), true],
    ["a large gzipped tar", gzipSync(forgeTar([{ name: "a", content: Buffer.alloc(3_000_000, 1) }])), true],
    ["nothing", Buffer.alloc(0), false],
    ["text", Buffer.from("hello\n".repeat(200)), false],
    ["gzipped text", gzipSync("hello"), false],
    ["an empty tar", Buffer.alloc(10_240), false],
    ["a tar with a wrong checksum", Buffer.concat([Buffer.from("x"), tar.subarray(1)]), false],
    ["a name alone", Buffer.from("x.tar"), false],
    ["the magic numbers alone", Buffer.from([0x1f, 0x8b]), false],
    ["a zip", Buffer.from("PK\u0003\u0004".padEnd(1000)), false],
    ["text packed with xz", pack("xz", Buffer.from("hello")), false],
    ["text packed with bzip2", pack("bzip2", Buffer.from("hello")), false],
    ["text packed with zstd", pack("zstd", Buffer.from("hello")), false],
  ])("%s", async (_, bytes, expected) => {
    await using room = openRoom();
    const path = join(room.dir, "x");
    writeFileSync(path, bytes);
    const file = opened(path);
    expect(room.snapshots.isArchive(file)).toBe(expected);
    file.close();
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });
});
