import { mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { InputFile, KeyComponent, LayerCache } from "../../src/cache/index.js";
import { makeKey, openLayerCache } from "../../src/cache/index.js";

const IMAGE = `sha256:${"e".repeat(64)}`;
const DIFF = `sha256:${"d".repeat(64)}`;
const SITE = "Containerfile#build#3 COPY";

let dir: string;
let cache: LayerCache;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-cache-"));
  cache = openLayerCache(join(dir, "cache"), () => 1_700_000_000_000);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const all = (): readonly string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();

const file = (path: string, digest: string, rest: Partial<InputFile> = {}): InputFile => ({
  path,
  digest,
  ...rest,
});
const step: readonly KeyComponent[] = [
  { name: "instruction", value: "COPY . /app" },
  { name: "base", value: "sha256:b" },
  { name: "parent", value: "sha256:p" },
  { name: "platform", value: "linux/amd64" },
];
const changed = (name: string, value: string, label?: string): readonly KeyComponent[] => [
  ...step.filter((each) => each.name !== name),
  { name, value, ...(label !== undefined && { label }) },
];

describe("openLayerCache", () => {
  test("looks up what was recorded", () => {
    const key = makeKey(step, [file("a", "1")]);
    expect(cache.lookup(key)).toBeUndefined();
    expect(all()).toEqual([]);
    cache.record(key, SITE, { imageId: IMAGE, diffId: DIFF });
    expect(openLayerCache(join(dir, "cache")).lookup(key)).toEqual({
      imageId: IMAGE,
      diffId: DIFF,
      site: SITE,
      components: step,
      filesDigest: key.filesDigest,
      createdAt: 1_700_000_000_000,
    });
    expect(cache.lookup(makeKey(step))).toBeUndefined();
    expect(cache.lookup(makeKey(step, [file("a", "2")]))).toBeUndefined();
  });

  test("lies where it should, and a hit needs one file only", () => {
    const key = makeKey(step, [file("a", "1")]);
    cache.record(key, SITE, { imageId: IMAGE });
    const record = join(dir, "cache/v1", key.key.slice(0, 2), `${key.key}.json`);
    expect(all()).toContain(record);
    for (const path of all()) if (path !== record) rmSync(path);
    expect(cache.lookup(key)?.imageId).toBe(IMAGE);
  });

  test("100,000 files: the record stays small, the list is stored once", () => {
    const files = Array.from({ length: 100_000 }, (_, i) =>
      file(`src/deep/directory${i % 100}/file-${i}.ts`, `sha256:${i.toString(16).padStart(64, "0")}`),
    );
    cache.record(makeKey(step, files), SITE, { imageId: IMAGE });
    cache.record(makeKey(changed("parent", "sha256:q"), files), SITE, { imageId: IMAGE });
    const sizes = all().map((path) => [path.includes("/files/"), readFileSync(path).length] as const);
    expect(sizes.filter(([isList]) => isList)).toHaveLength(1);
    expect(Math.max(...sizes.filter(([isList]) => !isList).map(([, size]) => size))).toBeLessThan(1_000);
    expect(Math.max(...sizes.map(([, size]) => size))).toBeLessThan(8_000_000);
    const edited = files.map((each, i) => (i === 77_777 ? file(each.path, "other") : each));
    expect(cache.explain(makeKey(changed("parent", "sha256:q"), edited), SITE)).toBe(
      "src/deep/directory77/file-77777.ts changed",
    );
  });

  test("F08: every flipped byte and every truncation of a record, list or pointer is a miss or an unexplained one", () => {
    const key = makeKey(step, [file("a", "1"), file("b", "2")]);
    cache.record(key, SITE, { imageId: IMAGE, diffId: DIFF });
    cache.setMemo("m", "value");
    const other = makeKey(step, [file("a", "1"), file("b", "3")]);
    for (const path of all()) {
      const good = readFileSync(path);
      for (let i = 0; i < good.length; i += 1) {
        const bad = Buffer.from(good);
        bad[i] = (bad[i] ?? 0) ^ 0x02;
        writeFileSync(path, i % 2 === 0 ? bad : good.subarray(0, i));
        if (path.endsWith(`${key.key}.json`)) expect(cache.lookup(key)).toBeUndefined();
        if (path.includes("/memo/")) expect(cache.memo("m")).toBeUndefined();
        else
          expect(cache.explain(other, SITE)).toBe(path.includes("/files/") ? "its files changed" : undefined);
      }
      writeFileSync(path, good);
    }
    expect(cache.explain(other, SITE)).toBe("b changed");
  });

  test("a record under another key's name, of a wrong shape, or a directory in its place, is a miss", () => {
    const [one, two] = [makeKey(step), makeKey(changed("base", "x"))];
    const path = (key: string): string => join(dir, "cache/v1", key.slice(0, 2), `${key}.json`);
    cache.record(one, SITE, { imageId: IMAGE });
    mkdirSync(join(path(two.key), ".."), { recursive: true });
    writeFileSync(path(two.key), readFileSync(path(one.key)));
    expect(cache.lookup(two)).toBeUndefined();
    cache.record(two, SITE, { imageId: "../../etc/passwd" });
    expect(cache.lookup(two)).toBeUndefined();
    rmSync(path(two.key));
    mkdirSync(path(two.key));
    expect(cache.lookup(two)).toBeUndefined();
  });

  test("memos", () => {
    expect(cache.memo("stage content")).toBeUndefined();
    cache.setMemo("stage content", "sha256:1");
    cache.setMemo("../escape", "x");
    cache.setMemo("stage content", "sha256:2");
    expect([cache.memo("stage content"), cache.memo("../escape"), cache.memo("other")]).toEqual([
      "sha256:2",
      "x",
      undefined,
    ]);
    expect(all().every((path) => path.startsWith(join(dir, "cache/v1/memo/")))).toBe(true);
  });

  test("S01: opaque values are in no file, and their change is still told", () => {
    const secret = (value: string): readonly KeyComponent[] => [
      ...step,
      { name: "secret:npm", value, label: "secret npm", opaque: true },
    ];
    cache.record(makeKey(secret("hunter2-canary")), SITE, { imageId: IMAGE });
    expect(all().some((path) => readFileSync(path).includes("hunter2-canary"))).toBe(false);
    expect(cache.explain(makeKey(secret("other")), SITE)).toBe("secret npm changed");
    expect(cache.lookup(makeKey(secret("hunter2-canary")))?.imageId).toBe(IMAGE);
    expect(cache.lookup(makeKey(secret("other")))).toBeUndefined();
  });
});

describe("explain", () => {
  const files = [
    file("a", "1", { content: "1", mode: 0o644, uid: 0, gid: 0 }),
    file("old.txt", "2", { content: "2", mode: 0o644, uid: 0, gid: 0 }),
    file("run.sh", "3", { content: "3", mode: 0o755, uid: 0, gid: 0 }),
  ];
  const [a, old, run] = files as [InputFile, InputFile, InputFile];
  const sha = (value: string): readonly KeyComponent[] => [
    ...step,
    { name: "arg:GIT_SHA", value, label: "ARG GIT_SHA" },
  ];
  const unread = (value: string): readonly KeyComponent[] => [
    ...step,
    { name: "arg:GIT_SHA", value, label: "ARG GIT_SHA changed, and this step does not read it" },
  ];

  test.each<[string, readonly KeyComponent[], readonly KeyComponent[], readonly InputFile[] | undefined]>([
    ["its result is no longer stored", step, step, files],
    ["a changed", step, step, [file("a", "9", { content: "9" }), old, run]],
    ["src/new.ts is new", step, step, [...files, file("src/new.ts", "4")]],
    ["old.txt is gone", step, step, [a, run]],
    ["mode of run.sh changed", step, step, [a, old, { ...run, digest: "9", mode: 0o644 }]],
    ["owner of run.sh changed", step, step, [a, old, { ...run, digest: "9", uid: 1000 }]],
    ["attributes of run.sh changed", step, step, [a, old, { ...run, digest: "9" }]],
    ["2 files changed: a, b (new)", step, step, [file("a", "9"), file("b", "9"), old, run]],
    [
      "3 files changed: a (gone), old.txt (gone), run.sh (mode)",
      step,
      step,
      [{ ...run, digest: "9", mode: 0o700 }],
    ],
    [
      "6 files changed: a, b (new), c (new) and 3 more",
      step,
      step,
      [file("a", "9"), ..."bcdef".split("").map((name) => file(name, "9")), old, run],
    ],
    ["3 files changed: a (gone), old.txt (gone), run.sh (gone)", step, step, undefined],
    ["the instruction changed", step, changed("instruction", "COPY a /app"), files],
    ["the base image changed", step, changed("base", "sha256:c"), files],
    ["an earlier step changed", step, changed("parent", "sha256:q"), files],
    ["the platform changed", step, changed("platform", "linux/arm64"), files],
    ["a changed", step, changed("parent", "sha256:q"), [file("a", "9"), old, run]],
    [
      "the instruction changed; the base image changed",
      step,
      [
        ...changed("base", "c").filter((each) => each.name !== "instruction"),
        { name: "instruction", value: "x" },
      ],
      files,
    ],
    ["ARG GIT_SHA changed", sha("1"), sha("2"), files],
    ["ARG GIT_SHA changed, and this step does not read it", unread("1"), unread("2"), files],
    ["ARG GIT_SHA is new", step, sha("1"), files],
    ["ARG GIT_SHA is gone", sha("1"), step, files],
    ["user changed", changed("user", "1"), changed("user", "2"), files],
  ])("%s", (line, before, now, inputs) => {
    cache.record(makeKey(before, files), SITE, { imageId: IMAGE });
    expect(cache.explain(makeKey(now, inputs), SITE)).toBe(line);
  });

  test("compares with the newest record of the same site only", () => {
    const key = (value: string) => makeKey(sha(value));
    expect(cache.explain(key("1"), SITE)).toBeUndefined();
    cache.record(key("1"), SITE, { imageId: IMAGE });
    cache.record(makeKey(changed("base", "other")), "another site", { imageId: IMAGE });
    expect(cache.explain(key("2"), SITE)).toBe("ARG GIT_SHA changed");
    cache.record(key("2"), SITE, { imageId: IMAGE });
    expect(cache.explain(key("2"), SITE)).toBe("its result is no longer stored");
    expect(cache.explain(key("3"), "a third site")).toBeUndefined();
  });

  test("X11: names cannot break the line or the terminal", () => {
    cache.record(makeKey(step, []), SITE, { imageId: IMAGE });
    const line = cache.explain(makeKey(step, [file("a\nb\u001b[2J\tc", "1")]), SITE);
    expect(line).toBe("a?b\\x1b[2J?c is new");
  });
});
