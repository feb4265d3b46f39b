import { readFileSync } from "node:fs";
import fg from "fast-glob";
import { describe, expect, test } from "vitest";
import { check, lintRules } from "../../src/index.js";
import { analyze, parseTrigger } from "../../src/parser/index.js";
import { joinSources } from "../../src/source.js";

/** The rows of each table in docs/diagnostics.md, by heading; a row is its cells. */
const tables = new Map(
  readFileSync("docs/diagnostics.md", "utf8")
    .split(/^## /m)
    .map((section) => {
      const rows = section.split("\n").filter((line) => line.startsWith("| `"));
      return [section.split("\n", 1)[0] ?? "", rows.map((row) => row.split(" | "))];
    }),
);
const rowsOf = (heading: string): readonly (readonly string[])[] => tables.get(heading) ?? [];
const codesOf = (heading: string): readonly string[] =>
  rowsOf(heading).map(([first = ""]) => first.replace(/[|` ]/g, ""));

/** What a pattern's group finds in the sources below a path, sorted, each once. */
function inSources(path: string, pattern: RegExp): readonly string[] {
  const texts = fg.sync(path).map((file) => readFileSync(file, "utf8"));
  const found = texts.flatMap((text) => [...text.matchAll(pattern)].map(([, code = ""]) => code));
  return [...new Set(found)].toSorted();
}

test("every code of a finding is documented, and no other", () => {
  const errors = [
    ...inSources("src/parser/*.ts", /\bfindings\.error\(\s*"(\w+)"/g),
    ...inSources("src/{parser,builder}/*.ts", /\bdiagnostic\((?:"error", )?"([A-Z]\w+)"/g),
    ...inSources("src/lint/lint.ts", /\bcode: "(\w+)"/g),
  ];
  const warnings = inSources("src/parser/*.ts", /\bfindings\.warning\(\s*"(\w+)"/g);
  expect(codesOf("Errors in a Containerfile")).toEqual(errors.toSorted());
  expect(codesOf("Warnings about a Containerfile")).toEqual(warnings);
});

test("every code of an error is documented, and no other", () => {
  const codes = inSources("src/errors.ts", /^ {2}\| "([\w-]+)"/gm);
  expect(codes.length).toBeGreaterThan(10);
  expect(codesOf("Errors of the library and the command")).toEqual(codes);
});

test("every code of a build's warnings is documented, and no other", () => {
  expect(codesOf("Warnings of a build")).toEqual(
    inSources("src/**/*.ts", /type: "warning",\s*code: "([\w-]+)"/g),
  );
});

test("a rule of lint has no code of another finding", () => {
  const others = [...codesOf("Errors in a Containerfile"), ...codesOf("Warnings about a Containerfile")];
  expect(lintRules.filter(({ name }) => others.includes(name))).toEqual([]);
});

describe.each(["Errors in a Containerfile", "Warnings about a Containerfile"])("%s", (heading) => {
  test.each(rowsOf(heading).map(([code = "", , example = ""]) => [code.replace(/[|` ]/g, ""), example]))(
    "%s is what its example gives: %s",
    async (code, example) => {
      const texts = [...example.matchAll(/(`{1,2})(?!`) ?(.+?) ?\1(?!`)/g)].map(([, , text = ""]) =>
        text.replaceAll("⏎", "\n").replaceAll("␀", "\0"),
      );
      const [text = "", second] = texts;
      if (example.startsWith("trigger")) {
        await expect(parseTrigger({ name: "ONBUILD", text })).rejects.toMatchObject({ code: "syntax" });
        return;
      }
      const repeated = Number(/^([\d,]+) lines/.exec(example)?.[1]?.replaceAll(",", "") ?? 1);
      const whole = `${text}\n`.repeat(repeated).slice(0, -1);
      const severity = heading.startsWith("Errors") ? "error" : "warning";
      const diagnostics =
        second === undefined
          ? await check(whole)
          : (await analyze(joinSources([text, second].map((one) => ({ name: "a", text: one }))))).diagnostics;
      expect(diagnostics).toContainEqual(expect.objectContaining({ code, severity }));
    },
  );
});
