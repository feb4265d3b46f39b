import {
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import { ROOT, walkTree } from "../../src/fs/index.js";
import type { Scratch } from "./scratch.js";
import { scratch } from "./scratch.js";

/** Reads the context once; the paths whose attributes were read, which are those the cache did not know. */
function build(its: Scratch, now?: () => number): readonly string[] {
  const unknown: string[] = [];
  const xattrs = (path: string): ReadonlyMap<string, Buffer> => {
    unknown.push(path.slice(its.dir.length + 1));
    return new Map(path.endsWith("x") ? [["user.n", Buffer.from(path)]] : []);
  };
  using context = its.open({ xattrs, ...(now && { now }) });
  for (const entry of walkTree(context, ROOT)) {
    if (entry.type === "file") context.digest(entry);
    expect(entry.xattrs?.get("user.n")?.toString()).toBe(
      entry.path.endsWith("x") ? join(its.dir, entry.path) : undefined,
    );
  }
  context.saveStatCache();
  return unknown;
}

const cacheFile = (its: Scratch): string =>
  join(its.root, "stat", readdirSync(join(its.root, "stat"))[0] ?? "");

describe("the stat cache", () => {
  test("knows what did not change", () => {
    using its = scratch();
    for (const name of ["a", "b", "d/x", "d/y"]) its.write(name, name);
    expect(build(its)).toEqual(["", "a", "b", "d", "d/x", "d/y"]);
    expect(build(its)).toEqual([]);
    const before = statSync(cacheFile(its)).ctimeMs;
    its.write("b", "other");
    expect(build(its)).toEqual(["b"]);
    expect(statSync(cacheFile(its)).ctimeMs).toBeGreaterThan(before);
    expect(build(its)).toEqual([]);
    expect(statSync(cacheFile(its)).mode & 0o777).toBe(0o600);
  });

  test("nothing learned, nothing written", () => {
    using its = scratch();
    its.write("a");
    build(its);
    const { ino } = statSync(cacheFile(its));
    build(its);
    expect(statSync(cacheFile(its)).ino).toBe(ino);
  });

  test("a digest learned later joins what was known", () => {
    using its = scratch();
    its.write("a", "1");
    for (let i = 0; i < 2; i += 1) {
      using context = its.open();
      const entry = context.lstat("a" as BytePath);
      if (i === 1 && entry) context.digest(entry);
      context.saveStatCache();
    }
    using context = its.open();
    const entry = context.lstat("a" as BytePath);
    expect(entry).toMatchObject({ known: { digest: expect.stringMatching(/^sha256:/) as unknown } });
  });

  test("a change that keeps size and mtime is seen by its ctime", () => {
    using its = scratch();
    its.write("a", "1");
    using first = its.open();
    const before = first.lstat("a" as BytePath);
    const digest = before && first.digest(before);
    first.saveStatCache();
    writeFileSync(join(its.dir, "a"), "2");
    utimesSync(join(its.dir, "a"), 1_700_000_000, 1_700_000_000);
    using second = its.open();
    const after = second.lstat("a" as BytePath);
    expect(after && second.digest(after)).not.toBe(digest);
  });

  test("files as young as the clock can tell are not trusted (and a clock that was set back trusts nothing)", () => {
    using its = scratch();
    its.write("a");
    const changedAt = statSync(join(its.dir, "a")).ctimeMs;
    expect(build(its, () => changedAt + 15)).toContain("a");
    expect(build(its, () => changedAt - 1e9)).toContain("a");
    expect(build(its, () => changedAt + 15)).toContain("a");
    expect(build(its, () => changedAt + 60)).toContain("a");
    expect(build(its)).not.toContain("a");
  });

  test("what was not looked at stays known, but not for ever", () => {
    using its = scratch();
    its.write("old/a");
    build(its);
    const learnSomething = (i: number): void => {
      its.write("new", String(i));
      using context = its.open();
      context.lstat("new" as BytePath);
      context.saveStatCache();
    };
    learnSomething(0);
    its.write("new", "0");
    const unknown = build(its);
    expect(unknown).not.toContain("old/a");
    const size = statSync(cacheFile(its)).size;
    for (let i = 0; i < 20; i += 1) learnSomething(i);
    expect(statSync(cacheFile(its)).size).toBeLessThan(size);
    expect(build(its)).toContain("old/a");
  });

  test("F08: every flipped byte and every truncation counts as empty", () => {
    using its = scratch();
    for (const name of ["a", "x"]) its.write(name);
    build(its);
    const good = readFileSync(cacheFile(its));
    for (let i = 0; i < good.length; i += 1) {
      if (i >= 24 && i < 32) continue; // a spare word of the header
      const bad = Buffer.from(good);
      bad[i] = (bad[i] ?? 0) ^ 0x41;
      writeFileSync(cacheFile(its), bad);
      using context = its.open();
      expect(context.lstat("a" as BytePath)).not.toMatchObject({
        known: { digest: expect.anything() as unknown },
      });
    }
    for (const length of [0, 7, 64, 65, good.length - 1]) {
      writeFileSync(cacheFile(its), good);
      truncateSync(cacheFile(its), length);
      using context = its.open();
      expect(context.lstat("a" as BytePath)?.type).toBe("file");
    }
    writeFileSync(cacheFile(its), good);
    expect(build(its)).toEqual([]);
    rmSync(cacheFile(its));
    expect(build(its)).toContain("a");
  });
});
