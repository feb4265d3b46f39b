import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";

/**
 * What has hit builders, runtimes and archive libraries, by row: C is what a Containerfile or a base image can do, L what
 * an archive or a layer can, X what a command in the sandbox can. Each row is a file here whose name begins with it, or
 * with a range that it lies in (`l03-l08-…`).
 */
const ROWS: readonly (readonly [string, number])[] = [
  ["c", 20],
  ["l", 22],
  ["x", 16],
];

/** Rows whose tests stand with what they test. */
const ELSEWHERE: Readonly<Record<string, string>> = { x06: "../runtime/seccomp.test.ts" };

function rowsOf(file: string): readonly string[] {
  const [, letter = "", from = "", to = from] = /^([clx])(\d\d)(?:-\1(\d\d))?-/i.exec(file) ?? [];
  const rows: string[] = [];
  for (let row = Number(from); from !== "" && row <= Number(to); row += 1)
    rows.push(`${letter.toLowerCase()}${String(row).padStart(2, "0")}`);
  return rows;
}

const files = readdirSync(new URL(".", import.meta.url)).filter((file) => file.endsWith(".test.ts"));

test("every row has its file, and none is said to be elsewhere that is not", () => {
  const wanted = ROWS.flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, index) => `${letter}${String(index + 1).padStart(2, "0")}`),
  );
  const here = new Set(files.flatMap(rowsOf));
  expect(wanted.filter((row) => !here.has(row))).toEqual(Object.keys(ELSEWHERE));
});

test.each(Object.entries(ELSEWHERE))("the row %s is in %s", (row, file) => {
  expect(readFileSync(new URL(file, import.meta.url), "utf8")).toContain(row.toUpperCase());
});

test("a file names in its tests the rows of its name", () => {
  const silent = files.filter((file) => {
    const text = readFileSync(new URL(file, import.meta.url), "utf8");
    return rowsOf(file).some((row) => !new RegExp(`\\b${row}\\b`, "i").test(text));
  });
  expect(silent).toEqual([]);
});
