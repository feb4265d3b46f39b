import { expect, test } from "vitest";
import { expandHeredoc, expandWord, expandWords, type ExpandOptions } from "../../src/parser/index.js";

const MiB = 1024 * 1024;
const options: ExpandOptions = { escape: "\\" };
const half = "x".repeat(MiB / 2);
const lookup = (name: string): string | undefined =>
  ({ half, lines: "x".repeat(1000) + "\n".repeat(1000) + "x\n".repeat(60_000), one: "x" })[name];

test("P08: a result may have 1 MiB and not one character more", () => {
  expect(expandWord("$half$half", lookup, options).length).toBe(MiB);
  for (const text of ["$half$half$one", "${half//x/xxx}", "${u:-$half$half$half}"]) {
    expect(() => expandWord(text, lookup, options)).toThrow("the expanded text is longer than 1 MiB");
  }
  expect(() => expandHeredoc("$half $half", lookup)).toThrow("longer than 1 MiB");
  expect(() => expandWords("$half $half $half", lookup, options)).toThrow("longer than 1 MiB");
});

test("P08: doubling ARGs end at the limit", () => {
  const grow = (): void => {
    let value = "aaaaaaaaaa";
    for (let step = 0; step < 40; step++) value = expandWord("$a$a", () => value, options);
  };
  expect(grow).toThrow(expect.objectContaining({ code: "syntax" }));
});

test("P08: substitutions nest 100 deep and no deeper, used or not", () => {
  const nested = (depth: number, name: string): string =>
    `\${${name}:-`.repeat(depth) + "end" + "}".repeat(depth);
  expect(expandWord(nested(100, "u"), lookup, options)).toBe("end");
  expect(expandWord(nested(100, "one"), lookup, options)).toBe("x");
  for (const depth of [101, 10_000, 1_000_000]) {
    expect(() => expandWord(nested(depth, "u"), lookup, options)).toThrow("nested more than 100 deep");
    expect(() => expandWord(nested(depth, "one"), lookup, options)).toThrow("nested more than 100 deep");
  }
});

test("P08: patterns that make backtracking matchers hang", () => {
  const stars = `\${half##${"*x".repeat(400)}y}`;
  expect(expandWord(stars, lookup, options)).toBe(half);
  expect(expandWord(`\${half//x*x*x*y/z}`, lookup, options)).toBe(half);
  expect(expandWord(`\${half%%${"*".repeat(1000)}}`, lookup, options)).toBe("");
  const lines = `\${lines//x*x*y/z}\${lines//x\n*x\ny/z}\${half///}`;
  expect(expandWord(lines, lookup, options)).toBe(`${lookup("lines")}${lookup("lines")}${half}`);
  expect(() => expandWord(`\${half#${"?".repeat(1025)}}`, lookup, options)).toThrow(
    "a pattern is longer than 1024",
  );
});

test("P08: a megabyte without an end", () => {
  for (const text of ['"', "'", "${u:-", "${half#", "${half/"]) {
    expect(() => expandWord(text + "a".repeat(MiB / 2), lookup, options)).toThrow(
      expect.objectContaining({ code: "syntax" }),
    );
  }
  expect(expandWord("\\a".repeat(MiB), lookup, options).length).toBe(MiB);
});
