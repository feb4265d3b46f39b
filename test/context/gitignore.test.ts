import fc from "fast-check";
import ignore from "ignore";
import { describe, expect, test } from "vitest";
import { patternIndex, readAsGitignore } from "../../src/context/index.js";
import type { BytePath } from "../../src/fs/index.js";

const paths = (...all: string[]): BytePath[] => all as BytePath[];

describe("readAsGitignore", () => {
  test("names the first path that git would hide by each line", async () => {
    const all = paths(
      "a.log",
      "pkg",
      "pkg/b.log",
      "pkg/c.log",
      "node_modules/x",
      "pkg/node_modules/x",
      "Foo",
    );
    expect(await readAsGitignore(["*.log", "node_modules", "foo", "!keep", "/pkg/x"], all)).toEqual([
      { pattern: "*.log", path: "pkg/b.log" },
      { pattern: "node_modules", path: "pkg/node_modules/x" },
    ]);
    expect(await readAsGitignore(["**/*.log", "**/node_modules"], all)).toEqual([]);
  });

  // Where gitignore's rules are the same as moby's the `ignore` package is a second opinion on ours: lines anchored by a
  // slash or led by `**/`, of plain names and `*`, without `!`.
  test("agrees with the ignore package where the rules are the same", () => {
    const part = fc.constantFrom("a", "b", "ab", "*", "a*", "*.c", "b.c");
    const pattern = fc
      .tuple(fc.boolean(), fc.array(part, { minLength: 1, maxLength: 3 }))
      .map(([deep, parts]) => `${deep ? "**/" : ""}${parts.join("/")}`);
    const path = fc
      .array(fc.constantFrom("a", "b", "ab", "b.c", "x"), { minLength: 1, maxLength: 4 })
      .map((names) => names.join("/"));
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 4 }), path, (patterns, at) => {
        const git = ignore({ ignorecase: false }).add(
          patterns.map((each) => (each.startsWith("**/") ? each : `/${each}`)),
        );
        expect(patternIndex(patterns).ignores(at as BytePath)).toBe(git.ignores(at));
      }),
      { numRuns: 10_000 },
    );
  });
});
