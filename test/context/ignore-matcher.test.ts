import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  IgnoreMatcher,
  matchPattern,
  parseIgnoreFile,
  patternIndex,
  readIgnoreFile,
} from "../../src/context/index.js";
import type { BytePath } from "../../src/fs/index.js";
import { bytesOf } from "../../src/fs/index.js";
import { naiveIgnores } from "./moby.js";

const ignores = (patterns: readonly string[], path: string): boolean =>
  patternIndex(patterns).ignores(bytesOf(path) as BytePath);
const fromFile = (text: string): readonly string[] => readIgnoreFile(text);

describe("patternIndex", () => {
  // [lines, path, hidden]: where docker and gitignore disagree, first, then each rule of moby's.
  test.each<[string, string, boolean]>([
    ["*.log", "a/b.log", false],
    ["foo", "a/foo", false],
    ["node_modules", "pkg/node_modules/x", false],
    ["dir\n!dir/keep", "dir/keep", false],
    ["dir\n!dir/keep", "dir/other", true],
    ["*\n!a/b/c", "a/b/c", false],
    ["*\n!a/b/c", "a/b/d", true],
    ["foo/", "foo", true],
    ["./foo", "foo", true],
    ["a/../foo", "foo", true],
    ["foo//bar", "foo/bar", true],
    [" foo", "foo", true],
    ["FOO", "foo", false],
    ["[!a].txt", "b.txt", false],
    ["[!a].txt", "!.txt", true],
    ["a**b", "a/x/b", true],
    ["a**b", "axb", false],

    ["?", "/", false],
    // order
    ["*.md\n!README.md", "README.md", false],
    ["!README.md\n*.md", "README.md", true],
    ["a\n!a\na/b", "a/b", true],
    ["a\n!a\na/b", "a/c", false],
    // a line that says what holds already does not count, neither there nor below
    ["a\n!a/b\na", "a/b", false],
    ["a\n!a/b\na", "a/b/c", false],
    ["a\n!a/b\na", "a/c", true],
    ["a/b\n!a", "a/b", true],
    ["c/**\na*/*\n!?", "a/a", true],
    ["a\n!a/b/c\na/**", "a/b/c", true],
    ["a\n!a/b/c\na/*", "a/b/c", false],
    ["a\n!a/b/c\n**/c", "a/b/c", true],
    ["x\n!a/b\n**/b\n!a/**", "a/b", false],
    // stars
    ["*", "a/b", true],
    ["*/*.c", "a/b.c", true],
    ["*/*.c", "b.c", false],
    ["**", "a/b/c", true],
    ["**/c", "c", true],
    ["**/c", "a/b/c", true],
    ["**/c", "a/bc", false],
    ["**c", "a/bc", true],
    ["**/*.go", "x.go", true],
    ["**/*.go", "a/b/x.go", true],
    ["a/**", "a", false],
    ["a/**", "a/b/c", true],
    ["a**", "a", true],
    ["a**", "ab/c", true],
    ["a/**/b", "a/b", true],
    ["a/**/b", "a/x/y/b", true],
    ["a/**/b/**", "a/x/b/c", true],
    ["**/a/b", "x/a/b", true],
    ["**/a/**/*.txt", "x/a/y/z.txt", true],
    ["a*", "ab/c", true],
    ["*/", "a", true],
    [".*", ".git", true],
    ["*", ".git", true],
    // one character, classes, escapes
    ["a?c", "abc", true],
    ["a?c", "a/c", false],
    ["a?c", "aéc", true],
    ["[a-c]x", "bx", true],
    ["a*[]]", "ab]", true],
    ["[^a-c]x", "bx", false],
    ["[^a-c]x", "dx", true],
    ["a[^b]c", "a/c", true],
    ["[é]", "é", true],
    ["a\\*b", "a*b", true],
    ["a\\*b", "axb", false],
    ["\\!a", "!a", true],
    ["\\#a", "#a", true],
    ["a[\\]]", "a]", true],
    ["[a\\-c]", "-", true],
    ["[a\\-c]", "b", false],
    // no braces, no extended globs, no regexp
    ["{a,b}", "a", false],
    ["{a,b}", "{a,b}", true],
    ["+(a)*", "aa", false],
    ["+(a)*", "+(a)x", true],
    ["a.c", "abc", false],
    ["a{2}*", "aab", false],
    ["a{2}*", "a{2}b", true],
    ["x|a*", "ab", false],
    ["x|a*", "x|ab", true],
    ["(a|b)?", "(a|b)x", true],
    ["a$*", "a$b", true],
    // what moby's detour over Go's regexps does
    ["[*]*", "*", false],
    ["[*]*", "[^]x", true],
    ["a^b*", "a^bc", false],
    ["a^b", "a^b", true],
    ["^b*", "bc", true],
    ["v\\d*", "v1", true],
    ["[[:digit:]]*", "7up", true],
    // places
    ["/foo", "foo", true],
    ["/foo/bar/", "foo/bar/x", true],
    ["../foo", "foo", false],
    [".", "foo", false],
    ["/", "foo", false],
    ["# comment\nfoo", "# comment", false],
    [" # no comment", "# no comment", true],
    ["\ufefffoo", "foo", true],
    ["foo\r\nbar\r", "bar", true],
    ["*\n! keep ", "keep", false],
    ["\u0085foo\u00a0", "foo", true],
    ["\ufffd", "x", false],
    ["ü*", "über", true],
  ])("%j and %j: hidden %s", (lines, path, hidden) => {
    expect(ignores(fromFile(lines), path)).toBe(hidden);
  });

  test("a malformed line is refused with its place", () => {
    const lines = parseIgnoreFile(Buffer.from("# windows\n\nbin\\path\n"), ".dockerignore");
    expect(() => patternIndex(lines)).toThrow(
      expect.objectContaining({
        code: "context",
        message: '.dockerignore:3: the ignore pattern "bin\\\\path" is malformed',
        hint: 'a backslash goes before a character like * or [ that is meant as such; "/" separates names',
      }),
    );
  });

  test("a newline in a name: only * and ? take it", () => {
    expect(ignores(["a/*"], "a/b\nc")).toBe(true);
    expect(ignores(["a/**/c*"], "a/b\nc/cd")).toBe(false);
    expect(ignores(["**/*.c"], "b\nc/d.c")).toBe(false);
    expect(ignores(["**/*.c"], "b\nc.c")).toBe(true);
  });

  test("names that are not UTF-8", () => {
    const patterns = readIgnoreFile(Buffer.from("caf\u00e9\nx?y\n", "latin1"));
    const matcher = patternIndex(patterns);
    expect(matcher.ignores("caf\u00e9" as BytePath)).toBe(true);
    expect(matcher.ignores("caf\u00e8" as BytePath)).toBe(false);
    expect(matcher.ignores("x\u00ffy" as BytePath)).toBe(true);
    expect(matcher.ignores("x\u00ff\u00fey" as BytePath)).toBe(false);
  });

  test.each(["[", "a[", "a*[", "foo\\ ", "[]a]", "a\\", "!", "[a-]", "[-x]", "[z-a]", "\\q", "a\\Qb"])(
    "%j is refused by name",
    (pattern) => {
      expect(() => patternIndex(["ok", pattern])).toThrow(
        expect.objectContaining({
          code: "context",
          message: `the ignore pattern ${JSON.stringify(pattern)} is malformed`,
        }),
      );
    },
  );

  const token = fc.constantFrom(
    "a",
    "b",
    "ab",
    "*",
    "**",
    "?",
    "/",
    "/",
    ".",
    "..",
    "[ab]",
    "[^a]",
    "[a-c]",
    "\\*",
    "\\.a",
    "!",
    "+",
    "{a,b}",
    "*.c",
    ".c",
    "**/",
  );
  const pattern = fc
    .array(token, { minLength: 1, maxLength: 6 })
    .map((parts) => parts.join(""))
    .filter((text) => isAccepted(text));
  const name = fc.constantFrom("a", "b", "ab", "abc", "a.c", ".c", "b.c", "*", "a*", "+", "{a,b}", "!", "c");
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
  const lines = fc.array(fc.tuple(fc.boolean(), pattern), { minLength: 1, maxLength: 5 });

  test("agrees with a naive moby on 20,000 random cases", () => {
    let hidden = 0;
    fc.assert(
      fc.property(lines, path, (some, at) => {
        const patterns = some
          .map(([negative, text]) => (negative ? `!${text}` : text))
          .filter((text) => isAccepted(text));
        const expected = naiveIgnores(patterns, at);
        hidden += Number(expected);
        expect(ignores(patterns, at)).toBe(expected);
      }),
      { numRuns: 20_000 },
    );
    expect(hidden).toBeGreaterThan(1_000);
  });

  test("a directory is left out of the walk only when nothing below it comes back", () => {
    fc.assert(
      fc.property(lines, path, path, (some, dir, below) => {
        const patterns = some
          .map(([negative, text]) => (negative ? `!${text}` : text))
          .filter((text) => isAccepted(text));
        const matcher = patternIndex(patterns);
        let verdict = -1;
        const parts = dir.split("/");
        for (let i = 1; i <= parts.length; i += 1)
          verdict = matcher.verdict(parts.slice(0, i).join("/") as BytePath, verdict);
        if (!matcher.hides(verdict) || matcher.mayHoldVisible(dir as BytePath, verdict)) return;
        expect(matcher.ignores(`${dir}/${below}` as BytePath)).toBe(true);
      }),
      { numRuns: 10_000 },
    );
    const matcher = patternIndex(["*", "!a/b/c", "!x/*/z"]);
    const enter = (dir: string): boolean => matcher.mayHoldVisible(dir as BytePath, 0);
    expect(["a", "a/b", "x", "x/q"].map(enter)).toEqual([true, true, true, true]);
    expect(["b", "a/c", "y", "x/q/r", "ab"].map(enter)).toEqual([false, false, false, false, false]);
  });
});

describe("IgnoreMatcher", () => {
  const matcher = new IgnoreMatcher(readIgnoreFile("# all\n*.o\nnode_modules\n!node_modules/keep\nü*\n"));

  test.each<[string, object]>([
    ["main.c", { ignored: false }],
    ["main.o", { ignored: true, pattern: "*.o", index: 0 }],
    ["/main.o/", { ignored: true, pattern: "*.o", index: 0 }],
    ["./x/../main.o", { ignored: true, pattern: "*.o", index: 0 }],
    ["über", { ignored: true, pattern: "ü*", index: 3 }],
    ["node_modules/a/b", { ignored: true, pattern: "node_modules", index: 1, parent: "node_modules" }],
    ["node_modules/keep", { ignored: false, pattern: "!node_modules/keep", index: 2 }],
    [
      "node_modules/keep/x",
      { ignored: false, pattern: "!node_modules/keep", index: 2, parent: "node_modules/keep" },
    ],
    [".", { ignored: false }],
  ])("%s: %j", (path, verdict) => {
    expect(matcher.explain(path)).toEqual(verdict);
    expect(matcher.ignores(path)).toBe("ignored" in verdict && verdict.ignored);
  });

  test("a blank pattern matches nothing and has its number", () => {
    expect(new IgnoreMatcher(["", " ", "a"]).explain("a")).toMatchObject({ index: 2 });
    expect(new IgnoreMatcher([""]).ignores("a")).toBe(false);
  });
});

function isAccepted(text: string): boolean {
  try {
    patternIndex([text]);
    return true;
  } catch {
    return false;
  }
}

describe("matchPattern", () => {
  // Go's documented behaviour of path/filepath.Match.
  test.each<[string, string, boolean]>([
    ["abc", "abc", true],
    ["*", "abc", true],
    ["*c", "abc", true],
    ["a*", "ab/c", false],
    ["a*/b", "abc/b", true],
    ["a*/b", "a/c/b", false],
    ["a*b*c*d*e*/f", "axbxcxdxe/f", true],
    ["a*b*c*d*e*/f", "axbxcxdxexxx/fff", false],
    ["a*b?c*x", "abxbbxdbxebxczzx", true],
    ["ab[c]", "abc", true],
    ["ab[^c]", "abc", false],
    ["a[^b]c", "a/c", true],
    ["a\\*b", "a*b", true],
    ["a?b", "a☺b", true],
    ["é*", "été", true],
    ["a[^a]b", "a☺b", true],
    ["a???b", "a☺b", false],
    ["[a-ζ]*", "α", true],
    ["*[a-ζ]", "A", false],
    ["a?b", "a/b", false],
    ["a*b", "a/b", false],
    ["[\\]a]", "]", true],
    ["[x\\-]", "-", true],
    ["**", "ab", true],
    ["**", "a/b", false],
    ["", "", true],
    ["", "a", false],
    ["*", "", true],
    ["{a,b}", "a", false],
    ["*.json", ".json", true],
  ])("%j and %j: %s", (pattern, path, matches) => {
    expect(matchPattern(pattern, path)).toBe(matches);
  });

  test.each(["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\", "[a-b-c]", "a*[", "*x["])(
    "%j is malformed",
    (pattern) => {
      expect(() => matchPattern(pattern, "a")).toThrow(expect.objectContaining({ code: "syntax" }));
    },
  );

  test("agrees with a regular expression", () => {
    const expressions = new Map(Object.entries({ "*": "[^/]*", "?": "[^/]", ".": "\\." }));
    const part = fc.constantFrom("a", "b", "*", "?", "/", "[ab]", "[^b/]", "\\*", ".");
    const text = fc
      .array(fc.constantFrom("a", "b", "/", "*", ".", "ab"), { maxLength: 7 })
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), text, (parts, path) => {
        const source = parts.map((each) => expressions.get(each) ?? each).join("");
        expect(matchPattern(parts.join(""), path)).toBe(new RegExp(`^${source}$`).test(path));
      }),
      { numRuns: 5_000 },
    );
  });
});
