import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeTree } from "../../src/fs/index.js";
import { openCooper } from "../../src/index.js";
import { openCanary } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { failureOf } from "../snapshot/room.js";

let lab: Lab;
let canary: Canary;
beforeEach(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
});
afterEach(async () => {
  canary.untouched();
  await lab[Symbol.asyncDispose]();
});

describe("C13: what removes something stays where it is", () => {
  test.each([
    "..",
    "../..",
    "../host",
    "a/../../../host",
    "../../host/victim",
    ".",
    "/",
    "sha256:..",
    "sha256:../../../host",
    "*",
  ])("an image named %j is removed nowhere", async (name) => {
    await lab.build("FROM scratch\nCOPY busybox /b\n", { tags: ["kept"] });
    expect((await failureOf(lab.cooper.remove([name], { force: true }))).name).toBe("CooperError");
    expect((await lab.cooper.images()).length).toBe(1);
  });

  test("a tree full of links out of it: the links go, what they lead to stays", async () => {
    const tree = join(lab.dir, "tree");
    mkdirSync(join(tree, "d"), { recursive: true });
    for (const [name, target] of [
      ["a", canary.dir],
      ["d/b", "../../host"],
      ["d/c", join(canary.dir, "held")],
      ["d/up", ".."],
    ] as const)
      symlinkSync(target, join(tree, name));
    await removeTree(tree);
    expect(existsSync(tree)).toBe(false);
    symlinkSync(canary.dir, tree);
    await removeTree(tree);
    expect(existsSync(tree)).toBe(false);
  });

  test("places of the store that somebody replaced by links are unlinked, not followed", async () => {
    await lab.build("FROM scratch\nCOPY busybox /b\n", { tags: ["doomed"] });
    const root = join(lab.dir, "root");
    await lab.cooper[Symbol.asyncDispose]();
    for (const id of readdirSync(join(root, "layers")))
      symlinkSync(canary.dir, join(root, "layers", id, "tree"));
    symlinkSync(canary.dir, join(root, "tmp/left-behind"));
    mkdirSync(join(root, "tmp/also"));
    symlinkSync(canary.dir, join(root, "tmp/also/link"));
    await using cooper = await openCooper({ root });
    await cooper.remove(["doomed"]);
    expect(readdirSync(join(root, "layers"))).toEqual([]);
  });

  test.each(["../../host", "../../../host", "../../host/held"])(
    "an image record that names the layer %s goes, and nothing there",
    async (place) => {
      await lab.build("FROM scratch\nCOPY busybox /b\n", { tags: ["forged"] });
      const root = join(lab.dir, "root");
      await lab.cooper[Symbol.asyncDispose]();
      for (const file of readdirSync(join(root, "images"))) {
        const path = join(root, "images", file);
        const record = JSON.parse(readFileSync(path, "utf8")) as { readonly layers: readonly string[] };
        expect(record.layers).toHaveLength(1);
        writeFileSync(path, JSON.stringify({ ...record, layers: [`sha256:${place}`] }));
      }
      await using cooper = await openCooper({ root });
      await cooper.remove(["forged"]);
      expect(["images", "refs", "layers"].flatMap((dir) => readdirSync(join(root, dir)))).toEqual([]);
      canary.untouched();
    },
  );
});
