import { execFileSync } from "node:child_process";
import { createReadStream, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { flattenConfig } from "../../scripts/compare/config.js";
import { makeContext } from "../../scripts/compare/context.js";
import type { ContextEntry } from "../../scripts/compare/context.js";
import { differences } from "../../scripts/compare/differences.js";
import { applyLayer, treeFacts } from "../../scripts/compare/layers.js";
import type { Tree } from "../../scripts/compare/layers.js";
import { readTar } from "../../scripts/compare/tar-reader.js";
import type { TarEntry } from "../../scripts/compare/tar-reader.js";
import type { Attributes } from "../../scripts/compare/types.js";
import { describeWith } from "../support/packages.js";

describeWith(["root", "mounts", "setfattr"], "the reader of images", () => {
  let dir: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "cooper-harness-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  let layers = 0;

  /** What GNU tar writes of these things, read back. */
  async function layerOf(entries: readonly ContextEntry[], format = "pax"): Promise<readonly TarEntry[]> {
    layers += 1;
    const root = join(dir, `layer-${layers}`);
    mkdirSync(root);
    makeContext(root, entries);
    const tar = `${root}.tar`;
    const how = ["--sort=name", "--numeric-owner", ...(format === "pax" ? ["--xattrs"] : [])];
    execFileSync("tar", ["--create", `--file=${tar}`, `--format=${format}`, ...how, "-C", root, "."]);
    const found: TarEntry[] = [];
    for await (const entry of readTar(createReadStream(tar))) found.push(entry);
    return found;
  }

  async function factsOf(
    ...stack: readonly (readonly ContextEntry[])[]
  ): Promise<Record<string, Attributes>> {
    const tree: Tree = new Map();
    for (const entries of stack) applyLayer(tree, await layerOf(entries));
    return treeFacts(tree, false);
  }

  test("tells type, mode, owner, content, target, device and attributes", async () => {
    const facts = await factsOf([
      { path: "f", content: "x", mode: "4640", owner: "7:3000000", xattrs: { "user.note": "hi" } },
      { path: "l", type: "symlink", target: "to/where", owner: "1:2" },
      { path: "p", type: "fifo", mode: "600" },
      { path: "null", type: "device", mode: "666" },
    ]);
    expect(facts["/f"]).toEqual({
      type: "file",
      mode: "4640",
      owner: "7:3000000",
      content: "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
      "xattr user.note": "6869",
    });
    expect(facts["/l"]).toEqual({ type: "link", owner: "1:2", target: "to/where" });
    expect(facts["/p"]).toMatchObject({ type: "fifo", mode: "0600" });
    expect(facts["/null"]).toMatchObject({ type: "char device", device: "1:3" });
  });

  test("tells hard links as a group, until a later layer replaces one of them", async () => {
    const twins: readonly ContextEntry[] = [
      { path: "a", content: "same" },
      { path: "b", type: "hardlink", target: "a" },
    ];
    expect((await factsOf(twins))["/b"]).toMatchObject({ type: "file", links: "/a /b" });
    const broken = await factsOf(twins, [{ path: "b", content: "other" }]);
    expect([broken["/a"]?.["links"], broken["/b"]?.["links"]]).toEqual([undefined, undefined]);
  });

  test("removes what a whiteout names, and what lies below an opaque directory, of lower layers only", async () => {
    const lower: readonly ContextEntry[] = [
      { path: "d/one", content: "1" },
      { path: "d/sub/two", content: "2" },
      { path: "e/three", content: "3" },
      { path: "e2", content: "stays" },
    ];
    const upper: readonly ContextEntry[] = [
      { path: "d/.wh..wh..opq" },
      { path: "d/new", content: "n" },
      { path: ".wh.e" },
    ];
    const paths = Object.keys(await factsOf(lower, upper)).toSorted();
    expect(paths).toEqual(["/", "/d", "/d/new", "/e2"]);
  });

  test("puts a file in the place of a directory with all that it held", async () => {
    const facts = await factsOf([{ path: "d/in", content: "x" }], [{ path: "d", content: "file" }]);
    expect(facts["/d"]).toMatchObject({ type: "file" });
    expect(facts["/d/in"]).toBeUndefined();
  });

  test("refuses a file below a link", async () => {
    const link = await layerOf([{ path: "d", type: "symlink", target: "e" }]);
    const below = (await layerOf([{ path: "d/in", content: "x" }])).filter(({ name }) => name.endsWith("in"));
    const tree: Tree = new Map();
    applyLayer(tree, link);
    expect(() => applyLayer(tree, below)).toThrow("/d/in lies below /d, which is no directory");
  });

  test.each(["pax", "gnu"])("reads long and odd names from a %s archive", async (format) => {
    const long = `${"a".repeat(120)}/${"b".repeat(120)}`;
    const tree: Tree = new Map();
    const names = [long, "new\nline", "back\\slash", "日本"];
    applyLayer(
      tree,
      await layerOf(
        names.map((path) => ({ path, content: path })),
        format,
      ),
    );
    const found = Object.keys(treeFacts(tree, false));
    expect(found).toEqual(expect.arrayContaining([`/${long}`, "/new\\x0aline", "/back\\x5cslash", "/日本"]));
  });

  test("does not believe a damaged archive", async () => {
    async function* damaged(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(512, "x");
    }
    await expect(readTar(damaged()).next()).rejects.toThrow("its checksum is wrong");
  });
});

describe("the config", () => {
  test("is told by name, without what is empty", () => {
    const config = {
      Env: ["A=1=2", "B="],
      Cmd: ["a b"],
      Entrypoint: null,
      User: "",
      Volumes: { "/b": {}, "/a": {} },
      Labels: { x: "" },
      Healthcheck: { Test: ["CMD", "x"], Retries: 0 },
    };
    expect(flattenConfig(config)).toEqual({
      "Env.A": "1=2",
      "Env.B": "",
      Cmd: '["a b"]',
      Volumes: '["/a","/b"]',
      "Labels.x": "",
      "Healthcheck.Test": '["CMD","x"]',
    });
  });
});

describe("differences", () => {
  const built = (tree: Record<string, Attributes>, config: Attributes = {}) =>
    ({ kind: "built", facts: { tree, config } }) as const;

  test("are none between equals, and between two refusals", () => {
    const one = built({ "/a": { type: "file", mode: "0644" } });
    expect(differences(one, one)).toEqual([]);
    const no = { kind: "rejected", message: "no" } as const;
    expect(differences(no, { ...no, message: "never" })).toEqual([]);
    expect(differences(one, no)).toEqual(["accepted | rejected"]);
  });

  test("are one line each", () => {
    const ours = built({ "/a": { type: "file", mode: "0644" }, "/b": { type: "fifo" } }, { User: "u" });
    const theirs = built({ "/a": { type: "file", mode: "0600", links: "/a /c" } }, { Cmd: "[]" });
    expect(differences(ours, theirs)).toEqual([
      "/a: links - | /a /c",
      "/a: mode 0644 | 0600",
      "/b: fifo | -",
      "config: Cmd - | []",
      "config: User u | -",
    ]);
  });
});
