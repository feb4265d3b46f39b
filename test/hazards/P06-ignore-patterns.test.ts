import { describe, expect, test } from "vitest";
import { patternIndex, matchPattern } from "../../src/context/index.js";
import type { BytePath } from "../../src/fs/index.js";
import type { PatternStep } from "../../src/context/ignore-regexp.js";
import { shapeOf } from "../../src/context/ignore-regexp.js";

const long = "a/".repeat(1_000) + "a".repeat(2_000);

// A backtracking matcher does not come back from these; the limit of the test runner is the only clock.
describe("P06: hostile patterns take linear time and mean what moby means", () => {
  test.each([
    "*".repeat(1_000) + "X",
    "*a".repeat(500) + "X",
    "a/" + "**/".repeat(500) + "b",
    "**/a".repeat(300) + "X",
    "[^/]*".repeat(300) + "X",
    "?".repeat(30_000),
    "*(*(*(*(a|b))))".repeat(50),
    "(a+)+".repeat(100) + "*X",
    "{a,b}".repeat(30) + "*",
  ])("%.30s", (pattern) => {
    expect(patternIndex([pattern]).ignores(long as BytePath)).toBe(false);
    expect(matchPattern(pattern, long)).toBe(false);
  });

  test("the automaton grows with the pattern, not faster", () => {
    const steps = (pattern: string): readonly PatternStep[] => {
      const shape = shapeOf(pattern);
      return shape?.kind === "steps" ? shape.steps : [];
    };
    expect(steps("a*").length).toBe(2);
    expect(steps("a*".repeat(10_000)).length).toBe(20_000);
    expect(steps("x" + "**/".repeat(1_000) + "b").length).toBe(1_002);
  });

  test("10^5 lines over 10^4 files", () => {
    const lines = Array.from(
      { length: 100_000 },
      (_, i) => [`dir${i}/file`, `**/name${i}`, `*.ext${i}`, `gen${i}/**`, `**/*.e${i}`][i % 5] ?? "",
    );
    const matcher = patternIndex(lines);
    let hidden = 0;
    for (let i = 0; i < 10_000; i += 1)
      hidden += Number(matcher.ignores(`src/p${i % 100}/name${i}` as BytePath));
    expect(hidden).toBe(2_000);
  });

  // Each line says the opposite of the one before, so that every one of them would count in turn.
  test("10^5 lines that take back each other over 10^4 files", () => {
    const alike = patternIndex(Array.from({ length: 100_000 }, (_, i) => (i % 2 === 0 ? "x*y" : "!x*y")));
    const sorted = patternIndex(
      Array.from({ length: 100_000 }, (_, i) => (i % 2 === 0 ? `x${i}*y` : `!x*${i}y`)),
    );
    const paths = Array.from({ length: 10_000 }, (_, i) => `x${i}y` as BytePath);
    expect(new Set(paths.map((path) => alike.decide(path).verdict))).toEqual(new Set([99_999]));
    expect(paths.filter((path) => sorted.ignores(path))).toEqual(paths.filter((_, i) => i % 2 === 0));
  });

  test("10^4 lines that differ in the middle over 10^3 files", () => {
    const matcher = patternIndex(
      Array.from({ length: 10_000 }, (_, i) => (i % 2 === 0 ? `x*-${i}-*y` : `!x*-${i}-*y`)),
    );
    for (let i = 0; i < 1_000; i += 1) expect(matcher.ignores(`x-${i}-y` as BytePath)).toBe(i % 2 === 0);
  });

  test("braces and extended globs are text", () => {
    const matcher = patternIndex(["{a,b}", "+(x)", "!(y)"]);
    expect(["a", "b", "x", "xx", "z", "(y)"].map((path) => matcher.ignores(path as BytePath))).toEqual(
      Array(6).fill(false),
    );
    expect(matcher.ignores("{a,b}" as BytePath)).toBe(true);
    expect(matcher.ignores("+(x)" as BytePath)).toBe(true);
  });
});
