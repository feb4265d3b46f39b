import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readCases } from "../../scripts/compare/cases.js";

const COLUMNS = ["Row", "Case", "cooper", "BuildKit", "buildah 1.28", "Why"];
const PEERS = ["buildkit", "buildah"];

const [ofImages = ""] = readFileSync("docs/differences.md", "utf8").split("\n## ");
const lines = ofImages.split("\n");
const cellsOf = (line: string): readonly string[] =>
  line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
const [header = "", , ...rest] = lines.filter((line) => line.startsWith("|"));
const rows = rest.map((line) => cellsOf(line));
const ids = rows.map(([id = ""]) => id.replaceAll("`", ""));

const expected = readCases("fixtures/differential").flatMap(({ name, differs = {}, unstable = {} }) => [
  ...Object.entries(differs).flatMap(([peer, all]) => all.map((one) => ({ ...one, name, peer }))),
  ...Object.entries(unstable).map(([peer, row]) => ({ row, lines: ["now this, now that"], name, peer })),
]);

describe("docs/differences.md", () => {
  test("is a table whose rows have an id each and no empty cell", () => {
    expect(cellsOf(header)).toEqual(COLUMNS);
    expect(rows.filter((cells) => cells.length !== COLUMNS.length || cells.includes(""))).toEqual([]);
    expect(ids.filter((id, at) => !/^[a-z0-9-]+$/.test(id) || ids.indexOf(id) !== at)).toEqual([]);
  });

  test("has a case for every row", () => {
    expect(ids.filter((id) => !expected.some(({ row }) => row === id))).toEqual([]);
  });

  test("has a row for every difference that a case expects", () => {
    const bad = expected.filter(
      ({ row, lines: shown, peer }) => !ids.includes(row) || shown.length === 0 || !PEERS.includes(peer),
    );
    expect(bad).toEqual([]);
  });
});
