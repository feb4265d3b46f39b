import { expect, test } from "vitest";
import { fuzz } from "../../scripts/fuzz/fuzz.js";
import { minimised } from "../../scripts/fuzz/minimise.js";
import { createRandom } from "../../scripts/fuzz/random.js";
import { targets } from "../../scripts/fuzz/targets.js";

test("500 texts changed at random break nothing in any target", async () => {
  const all = Object.keys(targets);
  const { findings, inputs } = await fuzz({ root: ".", targets: all, seed: 3, runs: 500, timed: false });
  expect(findings.map(({ target, fault, minimal }) => ({ target, fault, minimal }))).toEqual([]);
  expect(Object.values(inputs)).toEqual(all.map(() => 500));
});

test("a seed gives the same numbers again, and others for another target or input", () => {
  const numbers = (seed: number, name: string, index: number): string => {
    const random = createRandom(seed, name, index);
    return Array.from({ length: 8 }, () => random.below(1000)).join(" ");
  };
  expect(numbers(1, "parse", 2)).toBe(numbers(1, "parse", 2));
  const all = [
    numbers(1, "parse", 2),
    numbers(2, "parse", 2),
    numbers(1, "print", 2),
    numbers(1, "parse", 3),
  ];
  expect(new Set(all).size).toBe(4);
});

test("an input is made as short as its fault allows", async () => {
  const hasFault = (text: string): Promise<boolean> => Promise.resolve(/a[^]*b[^]*c/.test(text));
  expect(await minimised(`${"x".repeat(1000)}a\n${"y".repeat(500)}b${"z\n".repeat(900)}c!`, hasFault)).toBe(
    "abc",
  );
});
