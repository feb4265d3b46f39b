import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, test, vi } from "vitest";
import { EMPTY_TREE, LayerPlan } from "../../src/builder/copy/layer-plan.js";
import type { BytePath, TreeEntry } from "../../src/fs/index.js";
import { openCooper } from "../../src/index.js";
import { failureOf, openRoom } from "../snapshot/room.js";
import { forgeMember, forgePax } from "../support/tar-forge.js";

// Before anything of the product is loaded.
const meter = await vi.hoisted(async () => (await import("../support/work.js")).openWorkMeter());

/** A member whose name may be of any length. */
function long(path: string, type = "0"): Buffer {
  return Buffer.concat([forgePax({ path }), forgeMember({ name: "x", type })]);
}

const times = (count: number, make: (index: number) => readonly Buffer[]): readonly Buffer[] =>
  Array.from({ length: count }, (_, index) => make(index)).flat();

/** Floods of a size; twice the size makes twice the bytes. */
const FLOODS: Readonly<Record<string, (size: number) => readonly Buffer[]>> = {
  "files in a few directories": (size) => times(size, (i) => [forgeMember({ name: `f/${i % 10}/${i}` })]),
  directories: (size) => times(size, (i) => [forgeMember({ name: `f/${i}/` })]),
  "hard links to one file": (size) => [
    forgeMember({ name: "one" }),
    ...times(size, (i) => [forgeMember({ name: `l/${i}`, type: "1", linkName: "one" })]),
  ],
  "files, and a directory that comes and goes": (size) => [
    ...times(size, (i) => [forgeMember({ name: `f/${i}` })]),
    ...times(size, () => [
      forgeMember({ name: "d/" }),
      forgeMember({ name: "d/x" }),
      forgeMember({ name: "d" }),
    ]),
  ],
  "files through one link": (size) => [
    forgeMember({ name: "d/" }),
    forgeMember({ name: "l", type: "2", linkName: "d" }),
    ...times(size, (i) => [forgeMember({ name: `l/${i}` })]),
  ],
  "files in one directory of that depth": (size) => times(20, (i) => [long(`${"d/".repeat(size)}${i}`)]),
};

/** Where they are made on disk, each of these directories costs a walk to its depth, which is limited. */
const CHAINS: typeof FLOODS = {
  "directories of that depth, half of it shared": (size) =>
    times(20, (i) => [long(`${"d/".repeat(size / 2)}${i}/${"e/".repeat(size / 2)}x`)]),
};

const MARKERS: typeof FLOODS = {
  "opaque markers": (size) => times(size, (i) => [forgeMember({ name: `f/${i % 10}/${i}/.wh..wh..opq` })]),
  whiteouts: (size) => times(size, (i) => [forgeMember({ name: `f/${i % 10}/.wh.${i}` })]),
  "opaque markers of that depth": (size) => times(50, (i) => [long(`${"d/".repeat(size)}${i}/.wh..wh..opq`)]),
};

/** What a tar costs as a layer whose tree is made, and of which a view is read. */
async function asLayer(tar: Buffer): Promise<number> {
  await using room = openRoom({ parent: "/dev/shm" });
  return await meter.during(async () => {
    const { diffId } = await room.pull(tar);
    await room.tree(diffId);
    using view = await room.snapshots.view([diffId]);
    expect(view.list("" as never).length).toBeGreaterThan(0);
  });
}

/** What a tar costs that ADD unpacks, or whose files are the context. */
async function asInput(tar: Buffer, door: "add" | "context"): Promise<number> {
  const dir = mkdtempSync("/dev/shm/cooper-l18-");
  try {
    await using cooper = await openCooper({ root: join(dir, "root") });
    writeFileSync(join(dir, "flood.tar"), tar);
    return await meter.during(() =>
      door === "add"
        ? cooper.build({ contextDir: dir, containerfile: "FROM scratch\nADD flood.tar /in/\n" })
        : cooper.build({ context: Readable.from([tar]), containerfile: "FROM scratch\nCOPY . /in/\n" }),
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function entryOf(path: string, type: "file" | "dir"): TreeEntry {
  return { path: path as BytePath, type, mode: 0o644, uid: 0, gid: 0, size: 0, mtimeNs: 0n };
}

const DOORS = {
  layer: asLayer,
  add: (tar: Buffer) => asInput(tar, "add"),
  context: (tar: Buffer) => asInput(tar, "context"),
};
const costs = new Map<string, number>();

/** What a door costs whatever comes through it, the second time: the first loads what it needs. */
async function leastCost(door: keyof typeof DOORS): Promise<number> {
  const tar = Buffer.concat([forgeMember({ name: "f" }), Buffer.alloc(1024)]);
  if (!costs.has(door)) await DOORS[door](tar);
  const cost = costs.get(door) ?? (await DOORS[door](tar));
  costs.set(door, cost);
  return cost;
}

async function expectProportion(
  door: keyof typeof DOORS,
  flood: (size: number) => readonly Buffer[],
): Promise<void> {
  const least = await leastCost(door);
  const tarOf = (size: number): Buffer => Buffer.concat([...flood(size), Buffer.alloc(1024)]);
  const once = (await DOORS[door](tarOf(80))) - least;
  const twice = (await DOORS[door](tarOf(160))) - least;
  expect(once).toBeGreaterThan(0);
  expect(twice / once).toBeLessThan(2.5);
}

describe("L18: twice as many are twice the work, whatever way they come in", () => {
  test.each(Object.entries({ ...FLOODS, ...MARKERS }))("a layer of %s", async (_, flood) => {
    await expectProportion("layer", flood);
  });

  test.each(Object.entries({ ...FLOODS, ...CHAINS }))("ADD of %s", async (_, flood) => {
    await expectProportion("add", flood);
  });

  test.each(Object.entries(FLOODS))("a context of %s", async (_, flood) => {
    await expectProportion("context", flood);
  });

  test("ADD of a directory that comes and goes, beside ever more files", async () => {
    const plan = async (size: number): Promise<number> => {
      const made = new LayerPlan(EMPTY_TREE);
      return meter.during(() => {
        for (let i = 0; i < size; i += 1) {
          made.replace(entryOf(`f${i}`, "file"), undefined);
          made.replace(entryOf("d", "dir"), undefined);
          made.replace(entryOf("d/x", "file"), undefined);
          made.replace(entryOf("d", "file"), undefined);
        }
        expect(made.changes()).toHaveLength(size + 1);
      });
    };
    expect((await plan(400)) / (await plan(200))).toBeLessThan(2.5);
  });

  test("deeper than anything makes is refused", async () => {
    await using room = openRoom();
    expect((await failureOf(room.pull(long("d/".repeat(5001))))).message).toContain("nested deeper");
  });
});
