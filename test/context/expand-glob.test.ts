import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expandGlob } from "../../src/context/index.js";
import type { BytePath, TreeEntry } from "../../src/fs/index.js";
import { bytesOf, parentOf, ROOT, walkTree } from "../../src/fs/index.js";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { scratch } from "./scratch.js";

describe("expandGlob", () => {
  const files = [
    "package.json",
    ".npmrc",
    "a/package.json",
    "a/b/package.json",
    "a/b/x.js",
    "a/.hid/x.js",
    "b/x.js",
    "b/[x].js",
    "b/(x)+{y}.js",
    "b/é.js",
  ];

  test.each<[string, string[]]>([
    ["*.json", ["package.json"]],
    ["*", [".npmrc", "a", "b", "link", "package.json"]],
    ["a/b", ["a/b"]],
    ["none", []],
    ["*/x.js", ["b/x.js"]],
    ["a/*/x.js", ["a/.hid/x.js", "a/b/x.js"]],
    ["link/*", []],
    ["package.json/x", []],
    ["**/package.json", ["a/b/package.json", "a/package.json", "package.json"]],
    ["**/*.js", ["a/.hid/x.js", "a/b/x.js", "b/(x)+{y}.js", "b/[x].js", "b/x.js", "b/é.js"]],
    ["a/**", ["a/.hid", "a/.hid/x.js", "a/b", "a/b/package.json", "a/b/x.js", "a/package.json"]],
    ["a/**/x.js", ["a/.hid/x.js", "a/b/x.js"]],
    ["?/**/b/**", ["a/b/package.json", "a/b/x.js"]],
    ["**/?.js", ["a/.hid/x.js", "a/b/x.js", "b/x.js", "b/é.js"]],
    ["**/\\[x].js", ["b/[x].js"]],
    ["**/{x,y}.js", []],
    ["./b//é.js", ["b/é.js"]],
  ])("%s", async (pattern, expected) => {
    using its = scratch();
    for (const file of files) its.write(file);
    symlinkSync("a", join(its.dir, "link"));
    using context = its.open();
    expect(await expandGlob(context, pattern)).toEqual(expected.map(bytesOf).toSorted());
  });

  test("what is ignored is not there; a malformed pattern is told", async () => {
    using its = scratch();
    for (const file of files) its.write(file);
    using context = its.open({ ignore: ["**/package.json", "!a/b"] });
    expect(await expandGlob(context, "**/package.json")).toEqual(
      ["a/b/package.json"].filter((path) => context.lstat(path as BytePath)),
    );
    await expect(expandGlob(context, "none/[")).rejects.toThrow(expect.objectContaining({ code: "syntax" }));
  });

  test("every byte a name can have", async () => {
    using its = scratch();
    const names: string[] = [];
    for (let byte = 1; byte < 256; byte += 1) {
      const name = `n${String.fromCharCode(byte)}n`;
      if (byte !== 0x2f) names.push(name);
    }
    its.write("d/keep");
    for (const name of names) writeFileSync(Buffer.from(`${its.dir}/d/${name}`, "latin1"), "");
    using context = its.open();
    expect(await expandGlob(context, "**/n*n")).toEqual(names.map((name) => `d/${name}`).toSorted());
  });

  test("agrees with a walk and a regular expression over a tree in memory", async () => {
    const name = fc.constantFrom("a", "b", "ab", ".a", "a.b", "*", "[a]", "!a", "a\nb", "a\\b", "\u00e9");
    const file = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
    const part = fc.constantFrom("a", "*", "**", "**", "?", "a*", "*b", "\\*", "[ab]", ".a", "[[]a]");
    const expressions = new Map(
      Object.entries({
        "*": "[^/]*",
        "?": "[^/]",
        "a*": "a[^/]*",
        "*b": "[^/]*b",
        ".a": "\\.a",
        "[[]a]": "\\[a\\]",
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(file, { maxLength: 12 }),
        fc.array(part, { minLength: 1, maxLength: 4 }),
        async (paths, parts) => {
          const tree = memoryTree(paths);
          const source = parts.map((each, i) =>
            each === "**"
              ? i === parts.length - 1
                ? "[^]+"
                : "([^/]+/)*"
              : `${expressions.get(each) ?? each}${i === parts.length - 1 ? "" : "/"}`,
          );
          const expression = new RegExp(`^${source.join("")}$`);
          const expected = [...walkTree(tree, ROOT)]
            .map((entry) => entry.path)
            .filter((path) => path !== "" && expression.test(path));
          expect(await expandGlob(tree, parts.join("/"))).toEqual(expected.toSorted());
        },
      ),
      { numRuns: 5_000 },
    );
  });
});

/** Empty files at these paths; a path that another needs as a directory is one. */
function memoryTree(paths: readonly string[]): {
  lstat(path: BytePath): TreeEntry | undefined;
  list(path: BytePath): readonly string[];
} {
  const all = new Set<string>([""]);
  for (const path of paths) for (let at = path as BytePath; at !== ""; at = parentOf(at)) all.add(at);
  const list = (dir: string): readonly string[] =>
    [...all]
      .filter((path) => path !== "" && parentOf(path as BytePath) === dir)
      .map((path) => path.slice(dir === "" ? 0 : dir.length + 1))
      .toSorted();
  return {
    list,
    lstat: (path) =>
      all.has(path)
        ? {
            path,
            type: path === "" || list(path).length > 0 ? "dir" : "file",
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtimeNs: 0n,
          }
        : undefined,
  };
}
