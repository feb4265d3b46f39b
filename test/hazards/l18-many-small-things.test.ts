import { describe, expect, test } from "vitest";
import { treeSyscalls } from "../../src/runtime/index.js";
import { createLayerIndex } from "../../src/snapshot/layer-index.js";
import { createTarParser } from "../../src/snapshot/tar-parser.js";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { openRoom } from "../snapshot/room.js";
import { forgeMember, forgePax } from "../support/tar-forge.js";

/** Parses and indexes a tar; the number of its directories without an entry. */
function index(members: Iterable<Buffer>): number {
  const found = createLayerIndex("layer");
  const parser = createTarParser({ member: (member) => void found.add(member) }, "layer");
  for (const member of members) parser.push(member);
  parser.end();
  return (found.facts(0).implicitDirs ?? []).length;
}

describe("L18: floods", () => {
  test("a hundred thousand opaque markers in deep directories", () => {
    const deep = "d/".repeat(500);
    function* members(): Generator<Buffer> {
      for (let i = 0; i < 100_000; i += 1)
        yield Buffer.concat([
          forgePax({ path: `${deep}e${i % 100}/.wh..wh..opq` }),
          forgeMember({ name: "x" }),
        ]);
    }
    expect(index(members())).toBe(601);
  });

  test("sixty thousand files and twenty thousand links to one file become a tree", async () => {
    await using room = openRoom({ parent: "/dev/shm" });
    const parts: Buffer[] = [forgeMember({ name: "one", content: "1" })];
    for (let i = 0; i < 20_000; i += 1)
      parts.push(forgeMember({ name: `l/${i}`, type: "1", linkName: "one" }));
    for (let i = 0; i < 60_000; i += 1) parts.push(forgeMember({ name: `f/${i % 100}/${i}` }));
    const { diffId } = await room.pull(Buffer.concat(parts));
    const tree = await room.tree(diffId);
    const { nlink } = (await import("node:fs")).statSync(`${tree}/one`);
    expect(nlink).toBe(20_001);
    expect(treeSyscalls().xattrs(`${tree}/one`).size).toBe(0);
  });

  test("thousands of files, links and markers come through every way in", async () => {
    const files = Array.from({ length: 800 }, (_, i) => forgeMember({ name: `f/${i % 10}/${i}` }));
    const links = Array.from({ length: 800 }, (_, i) =>
      forgeMember({ name: `l/${i}`, type: "1", linkName: "f/0/0" }),
    );
    const flood = Buffer.concat([...files, ...links, Buffer.alloc(1024)]);
    const { layer, add, context } = await attack(() => flood);
    for (const door of [layer, add, context]) expect(accepted(door)).toHaveLength(1612);
    const deep = "d/".repeat(300);
    const markers = Array.from({ length: 800 }, (_, i) =>
      Buffer.concat([forgePax({ path: `${deep}e${i % 100}/.wh..wh..opq` }), forgeMember({ name: "x" })]),
    );
    const opaque = await attack(() => Buffer.concat([...markers, Buffer.alloc(1024)]));
    expect(accepted(opaque.layer)).toHaveLength(400);
    for (const door of [opaque.add, opaque.context]) expect(refused(door).code).toBe("unsupported");
  });

  test("a directory that is replaced again and again costs each of its files once", async () => {
    await using room = openRoom();
    const parts: Buffer[] = [];
    for (let round = 0; round < 50; round += 1) {
      for (let i = 0; i < 50; i += 1) parts.push(forgeMember({ name: `d/${i}` }));
      parts.push(forgeMember({ name: "d", content: String(round) }));
      parts.push(forgeMember({ name: "d/" }));
    }
    const { diffId } = await room.pull(Buffer.concat(parts));
    const tree = await room.tree(diffId);
    expect((await import("node:fs")).readdirSync(`${tree}/d`)).toEqual([]);
  });
});
