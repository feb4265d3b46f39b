import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { removeTree } from "../../src/fs/index.js";
import type { BytePath } from "../../src/fs/index.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import { extractInto } from "../../src/snapshot/extract.js";
import { createTarParser } from "../../src/snapshot/tar-parser.js";
import { accepted, attack, refused } from "../snapshot/hostile.js";
import { openRoom } from "../snapshot/room.js";
import { forgeTar } from "../support/tar-forge.js";

describe("L03: a link of the archive among the parents", () => {
  test("to .. or to the host stays inside the root", async () => {
    for (const target of ["..", "../../..", "/", "x/../.."]) {
      const { layer, add, context } = await attack(() =>
        forgeTar([
          { name: "d", type: "2", linkName: target },
          { name: "d/x", content: "x" },
        ]),
      );
      for (const door of [layer, context]) expect(accepted(door), target).toEqual(["d@", "x"]);
      // The archive's root is a directory of the image here, so the link leads out of it and stays in the image.
      expect(accepted(add), target).toEqual(["d@"]);
    }
    const { layer, add, context } = await attack((host) =>
      forgeTar([
        { name: "d", type: "2", linkName: host },
        { name: "d/victim", content: "x" },
      ]),
    );
    for (const door of [layer, context]) expect(accepted(door).at(-1)).toMatch(/host\/victim$/);
    expect(accepted(add)).toEqual(["d@"]);
  });

  test("a loop is an error", async () => {
    const { layer, add, context } = await attack(() =>
      forgeTar([
        { name: "a", type: "2", linkName: "b" },
        { name: "b", type: "2", linkName: "a" },
        { name: "a/x" },
      ]),
    );
    expect(refused(layer).error).toContain("no directory");
    for (const door of [add, context]) expect(refused(door).error).toContain("too many symbolic links");
  });

  test("of a lower layer is not followed by the layer above", async () => {
    await using room = openRoom();
    const host = join(room.dir, "host");
    mkdirSync(host);
    const below = await room.pull(forgeTar([{ name: "d", type: "2", linkName: host }]));
    const above = await room.pull(forgeTar([{ name: "d/x", content: "x" }]));
    await using rootfs = await room.overlay([below.diffId, above.diffId]);
    expect(readFileSync(join(rootfs.lowerDirs[0] ?? "", "d/x"), "utf8")).toBe("x");
    expect(readdirSync(host)).toEqual([]);
    using view = await room.snapshots.view([below.diffId, above.diffId]);
    expect(view.lstat("d" as BytePath)?.type).toBe("dir");
  });
});

describe("L04: hard links", () => {
  test.each(["../host/secret", "/etc/passwd", "nowhere", "/", "."])("to %s is refused", async (linkName) => {
    const { layer, add, context } = await attack(() => forgeTar([{ name: "h", type: "1", linkName }]));
    expect(refused(layer).error).toContain(linkName.startsWith("..") ? "leaves the root" : "hard link");
    for (const door of [add, context]) expect(refused(door).code).toBe("corrupt");
  });

  test("through links that climb is refused, not followed", async () => {
    const doors = await attack(() =>
      forgeTar([
        { name: "a/b/c/up", type: "2", linkName: "../.." },
        { name: "a/b/escape", type: "2", linkName: "c/up/../.." },
        { name: "x", type: "1", linkName: "a/b/escape/host/secret" },
      ]),
    );
    for (const door of Object.values(doors)) expect(refused(door).code).toBe("corrupt");
  });

  test("to a directory, or to a file that is about to go, is refused", async () => {
    expect(
      refused((await attack(() => forgeTar([{ name: "d/" }, { name: "h", type: "1", linkName: "d" }]))).layer)
        .code,
    ).toBe("corrupt");
    const { layer } = await attack(() =>
      forgeTar([
        { name: "a/b", content: "x" },
        { name: "a", type: "1", linkName: "a/b" },
      ]),
    );
    expect(refused(layer).code).toBe("corrupt");
  });
});

describe("L05: a hard link to a symbolic link", () => {
  test("links the link itself, and writing over it replaces it", async () => {
    const { layer, add, context } = await attack((host) =>
      forgeTar([
        { name: "s", type: "2", linkName: `${host}/secret` },
        { name: "h", type: "1", linkName: "s" },
        { name: "h", content: "overwritten" },
      ]),
    );
    for (const door of [layer, add, context]) expect(accepted(door)).toEqual(["h", "s@"]);
    const kept = await attack((host) =>
      forgeTar([
        { name: "s", type: "2", linkName: `${host}/secret` },
        { name: "h", type: "1", linkName: "s" },
      ]),
    );
    for (const door of [kept.layer, kept.add, kept.context]) expect(accepted(door)).toEqual(["h@", "s@"]);
  });
});

describe("L06: a directory that turns into a link", () => {
  test("is walked again by name, whatever it was before", async () => {
    const { layer, add, context } = await attack((host) =>
      forgeTar([
        { name: "d/" },
        { name: "d/old", content: "o" },
        { name: "d", type: "2", linkName: host },
        { name: "d/victim", content: "x" },
      ]),
    );
    for (const door of [layer, add, context]) {
      const listing = accepted(door);
      expect(listing).toContain("d@");
      expect(listing).not.toContain("d/old");
      if (door !== add) expect(listing.at(-1)).toMatch(/host\/victim$/);
    }
  });

  test("names that only look alike are different names", async () => {
    const names = ["é", "e\u0301", "E\u0301", "ﬁ", "fi", "FI"];
    const doors = await attack(() =>
      forgeTar(names.map((name) => ({ name: Buffer.from(name).toString("latin1"), content: name }))),
    );
    for (const door of Object.values(doors)) expect(accepted(door)).toHaveLength(names.length);
  });
});

describe("L07: containment is no comparison of strings", () => {
  test("a link to a sibling whose name begins like ours leads nowhere outside", async () => {
    await using room = openRoom();
    const evil = `${join(room.dir, "store")}-evil`;
    mkdirSync(evil);
    const { diffId } = await room.pull(
      forgeTar([
        { name: "l", type: "2", linkName: evil },
        { name: "l/x", content: "x" },
      ]),
    );
    await room.tree(diffId);
    expect(readdirSync(evil)).toEqual([]);
  });
});

describe("L08: a parent that is swapped while we extract", () => {
  test("is never followed out of the tree", async () => {
    await using room = openRoom();
    const host = join(room.dir, "host");
    const work = join(room.dir, "work");
    mkdirSync(host);
    mkdirSync(join(work, "trash"), { recursive: true });
    // A thread swaps the directory for a link to the host and back, as fast as it can.
    // Where the extraction has made the directory anew in between, it begins again.
    const script = `const { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync } = require("node:fs"); const { workerData: w, parentPort } = require("node:worker_threads");
      let swaps = 0; for (;;) { try { renameSync(w.tree + "/d", w.tree + "/x"); symlinkSync(w.host, w.tree + "/d"); unlinkSync(w.tree + "/d"); renameSync(w.tree + "/x", w.tree + "/d"); swaps += 1;
      if (swaps % 100 === 0) parentPort.postMessage(swaps); } catch { try { rmSync(w.tree + "/x", { recursive: true, force: true }); mkdirSync(w.tree + "/d"); } catch {} } }`;
    let extracted = 0;
    let failed = 0;
    const tree = join(work, "tree");
    mkdirSync(tree);
    mkdirSync(join(tree, "d"));
    const worker = new Worker(script, { eval: true, workerData: { tree, host } });
    try {
      await new Promise((resolve) => worker.once("message", resolve));
      for (let round = 0; round < 1000; round += 1) {
        const tar = forgeTar([
          { name: `d/f${round}`, content: "x" },
          { name: "other" },
          { name: `d/g${round}`, content: "x" },
        ]);
        try {
          using extraction = extractInto(tree, join(work, "trash"), "layer", {
            syscalls: treeSyscalls,
            userNamespace: false,
          });
          const parser = createTarParser(extraction.visitor, "layer");
          parser.push(tar);
          extracted += 1;
        } catch {
          failed += 1;
        }
        rmSync(join(tree, "other"), { force: true });
      }
    } finally {
      await worker.terminate();
    }
    expect(extracted + failed).toBe(1000);
    expect(failed).toBeGreaterThan(0);
    expect(readdirSync(host)).toEqual([]);
    await removeTree(work);
  });

  test("the directory that is extracted into is private", async () => {
    await using room = openRoom();
    await using staged = room.home.stage();
    expect(statSync(staged.path).mode & 0o777).toBe(0o700);
  });
});
