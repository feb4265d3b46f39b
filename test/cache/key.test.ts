import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { InputFile, KeyComponent } from "../../src/cache/index.js";
import { inputFile, makeKey } from "../../src/cache/index.js";
import type { BytePath, TreeEntry } from "../../src/fs/index.js";

interface Golden {
  readonly components: readonly KeyComponent[];
  readonly files?: readonly InputFile[];
  readonly key: string;
}

const goldens = readdirSync("fixtures/cache-keys").filter((name) => name.endsWith(".json"));
const golden = (name: string): Golden =>
  JSON.parse(readFileSync(`fixtures/cache-keys/${name}`, "utf8")) as Golden;

/** The formula once more, from its description. */
function formula({ components, files }: Omit<Golden, "key">): string {
  const frames = (texts: readonly string[]): Buffer =>
    Buffer.concat(
      texts.map((text) => {
        const isUtf8 = Buffer.from(text).toString() === text;
        const bytes = Buffer.from(isUtf8 ? text : JSON.stringify(text));
        return Buffer.concat([Buffer.from(`${bytes.length}${isUtf8 ? ":" : "!"}`), bytes]);
      }),
    );
  const sum = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
  const rows = (files ?? [])
    .map(({ path, digest }) => [path, digest])
    .toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
  const filesDigest = files ? sum(frames(["cooper-input-files", "1", ...rows.flat()])) : "";
  const named = components.flatMap(({ name, value }) => [name, value]);
  return sum(frames(["cooper-cache-key", "1", String(components.length), ...named, filesDigest]));
}

describe("makeKey", () => {
  test("there are golden keys", () => expect(goldens.length).toBeGreaterThanOrEqual(6));

  // A change here throws away every cache there is: raise FORMULA with it, and write these files anew.
  test.each(goldens)("%s has the key it always had", (name) => {
    const { components, files, key } = golden(name);
    expect(makeKey(components, files).key).toBe(key);
    expect(formula({ components, ...(files && { files }) })).toBe(key);
  });

  const component = fc.record({ name: fc.string({ unit: "binary" }), value: fc.string({ unit: "binary" }) });
  const components = fc.uniqueArray(component, { selector: (each) => each.name, minLength: 1, maxLength: 5 });
  const files = fc.uniqueArray(fc.record({ path: fc.string(), digest: fc.string() }), {
    selector: (each) => each.path,
    minLength: 1,
    maxLength: 6,
  });

  test("ignores the order in which files are listed, labels, and what only explains", () => {
    fc.assert(
      fc.property(components, files, fc.nat(), (some, inputs, turn) => {
        const turned = inputs.map((_, i) => inputs[(i + turn) % inputs.length] ?? { path: "", digest: "" });
        const labelled = some.map((each) => ({ ...each, label: "x", opaque: true }));
        const noted = turned.map((each) => ({ ...each, mode: turn, content: "c" }));
        expect(makeKey(labelled, noted).key).toBe(makeKey(some, inputs).key);
      }),
    );
  });

  test("changes with any input", () => {
    fc.assert(
      fc.property(components, files, fc.nat(), fc.string({ minLength: 1 }), (some, inputs, pick, more) => {
        const with_ = <T>(all: readonly T[], change: (one: T) => T): readonly T[] =>
          all.map((one, i) => (i === pick % all.length ? change(one) : one));
        const without = <T>(all: readonly T[]): readonly T[] => all.filter((_, i) => i !== pick % all.length);
        const fresh = [...some.map((each) => each.name), ...inputs.map((each) => each.path)].join("") + more;
        const variants = [
          makeKey(some, inputs),
          makeKey(some),
          makeKey(some, []),
          makeKey(
            with_(some, (each) => ({ ...each, value: each.value + more })),
            inputs,
          ),
          makeKey(
            with_(some, (each) => ({ ...each, name: fresh })),
            inputs,
          ),
          makeKey([...some, { name: fresh, value: "" }], inputs),
          makeKey(without(some), inputs),
          makeKey(
            some,
            with_(inputs, (each) => ({ ...each, digest: each.digest + more })),
          ),
          makeKey(
            some,
            with_(inputs, (each) => ({ ...each, path: fresh })),
          ),
          makeKey(some, [...inputs, { path: fresh, digest: "" }]),
          ...(inputs.length > 1 ? [makeKey(some, without(inputs))] : []),
          ...(some.length > 1 ? [makeKey(some.toReversed(), inputs)] : []),
        ];
        const keys = variants.map((variant) => variant.key);
        expect(new Set(keys).size).toBe(keys.length);
        expect(keys.every((key) => /^[0-9a-f]{64}$/.test(key))).toBe(true);
      }),
    );
  });

  test("text cannot pass for structure", () => {
    const keys = [
      makeKey([{ name: "a", value: "b1:c" }]),
      makeKey([
        { name: "a", value: "b" },
        { name: "c", value: "" },
      ]),
      makeKey([{ name: "ab", value: "1:c" }]),
      makeKey([{ name: "a", value: "\ud800" }]),
      makeKey([{ name: "a", value: '"\\ud800"' }]),
      makeKey([{ name: "a", value: "\ufffd" }]),
    ].map((key) => key.key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test("two components of one name are a mistake", () => {
    expect(() =>
      makeKey([
        { name: "a", value: "1" },
        { name: "a", value: "2" },
      ]),
    ).toThrow("two components of one name: a");
  });
});

describe("S04: inputFile", () => {
  const entry: TreeEntry = {
    path: "a" as BytePath,
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 3,
    mtimeNs: 5n,
  };
  const link: TreeEntry = { ...entry, type: "symlink", target: "x", mode: 0o777 };
  const device: TreeEntry = { ...entry, type: "char", device: { major: 1, minor: 3 } };
  const attributes = (all: Record<string, string>): TreeEntry => ({
    ...entry,
    xattrs: new Map(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
  });
  const digest = (...args: Parameters<typeof inputFile>): string => inputFile(...args).digest;

  test("must miss", () => {
    const digests = [
      digest("a", entry, "c"),
      digest("b", entry, "c"),
      digest("a", entry, "d"),
      digest("a", { ...entry, mode: 0o755 }, "c"),
      digest("a", { ...entry, mode: 0o4644 }, "c"),
      digest("a", { ...entry, uid: 1 }, "c"),
      digest("a", { ...entry, gid: 1 }, "c"),
      digest("a", entry, "c", "first"),
      digest("a", attributes({ "user.a": "1" }), "c"),
      digest("a", attributes({ "user.a": "2" }), "c"),
      digest("a", attributes({ "user.b": "1" }), "c"),
      digest("a", attributes({ "user.a": "1", "user.b": "" }), "c"),
      digest("a", link),
      digest("a", { ...link, target: "y" }),
      digest("a", { ...entry, type: "dir" }),
      digest("a", { ...entry, type: "fifo" }),
      digest("a", device),
      digest("a", { ...device, type: "block" }),
      digest("a", { ...device, device: { major: 3, minor: 1 } }),
      digest("\u00ff", entry, "c"),
      digest("\u00fe", entry, "c"),
    ];
    expect(new Set(digests).size).toBe(digests.length);
  });

  test("must hit", () => {
    const same = digest("a", entry, "c");
    expect(digest("a", { ...entry, mtimeNs: 6n }, "c")).toBe(same);
    expect(digest("a", { ...entry, linkId: "1:2" }, "c")).toBe(same);
    expect(digest("a", { ...entry, path: "elsewhere/a" as BytePath }, "c")).toBe(same);
    expect(digest("a", { ...link, mode: 0o644 })).toBe(digest("a", link));
    expect(digest("a", { ...entry, type: "dir", size: 4096 })).toBe(
      digest("a", { ...entry, type: "dir", size: 0 }),
    );
    expect(digest("a", attributes({ "user.b": "2", "user.a": "1" }), "c")).toBe(
      digest("a", attributes({ "user.a": "1", "user.b": "2" }), "c"),
    );
  });

  test("paths are shown as text; a file without a digest is a mistake", () => {
    expect(inputFile("\u00c3\u00a9", entry, "c")).toMatchObject({
      path: "é",
      content: "c",
      mode: 0o644,
      uid: 0,
      gid: 0,
    });
    expect(() => inputFile("a", entry)).toThrow("no content digest for a");
  });

  test("names that look alike as text are both counted", () => {
    const pair = (one: string, two: string): string =>
      makeKey([], [inputFile("\u00ff", entry, one), inputFile("\u00fe", entry, two)]).key;
    expect(pair("1", "2")).not.toBe(pair("2", "1"));
  });
});
