import { readdirSync } from "node:fs";
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

/** Rows whose tests come with what they test. */
const AWAITED = ["c01", "c02", "c03", "c04", "c05", "c06", "c07", "x06"];

function rowsOf(file: string): readonly string[] {
  const [, letter = "", from = "", to = from] = /^([clx])(\d\d)(?:-\1(\d\d))?-/i.exec(file) ?? [];
  const rows: string[] = [];
  for (let row = Number(from); from !== "" && row <= Number(to); row += 1)
    rows.push(`${letter.toLowerCase()}${String(row).padStart(2, "0")}`);
  return rows;
}

test("every row has its file, and no row is awaited any longer than it must be", () => {
  const there = new Set(
    readdirSync(new URL(".", import.meta.url))
      .filter((file) => file.endsWith(".test.ts"))
      .flatMap(rowsOf),
  );
  const wanted = ROWS.flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, index) => `${letter}${String(index + 1).padStart(2, "0")}`),
  );
  expect(wanted.filter((row) => !there.has(row) && !AWAITED.includes(row))).toEqual([]);
});
