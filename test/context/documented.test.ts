import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { IgnoreMatcher, readIgnoreFile } from "../../src/index.js";
import { execute } from "../e2e/command.js";

const program = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));
const text = readFileSync(new URL("../../docs/ignore.md", import.meta.url), "utf8");

/** The code spans of a table's cell. */
const codeIn = (cell: string): readonly string[] =>
  [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);
const block = (language: string): string =>
  new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "s").exec(text)?.[1] ?? "";

const rows = text.split("\n").flatMap((line) => {
  const [, lines = "", path = "", outcome = ""] = line.split("|").map((cell) => cell.trim());
  return outcome === "hidden" || outcome === "visible" ? [{ lines, path, outcome }] : [];
});

describe("what docs/ignore.md says", () => {
  test("has examples", () => expect(rows.length).toBeGreaterThan(20));

  test.each(rows)("$lines: $path is $outcome", ({ lines, path, outcome }) => {
    const matcher = new IgnoreMatcher(readIgnoreFile(codeIn(lines).join("\n")));
    expect(matcher.ignores(codeIn(path)[0] ?? "")).toBe(outcome === "hidden");
  });

  test("the matcher in the library", () => {
    const matcher = new IgnoreMatcher(readIgnoreFile("*.o\n!keep.o\n"));
    expect(text).toContain('matcher.ignores("main.o"); // true');
    expect(matcher.ignores("main.o")).toBe(true);
    expect(text).toContain('matcher.explain("keep.o"); // { ignored: false, pattern: "!keep.o", index: 1 }');
    expect(matcher.explain("keep.o")).toEqual({ ignored: false, pattern: "!keep.o", index: 1 });
  });

  test("the command, line by line", async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-documented-"));
    try {
      writeFileSync(join(dir, ".containerignore"), block("containerignore"));
      for (const path of ["main.o", "main.c", "lib/other", "lib/keep/x"]) {
        mkdirSync(join(dir, dirname(path)), { recursive: true });
        writeFileSync(join(dir, path), "");
      }
      const session = [...block("console").matchAll(/^\$ cooper (.*)\n(.*\n)/gm)];
      expect(session).toHaveLength(6);
      for (const [, command = "", answer = ""] of session) {
        const words = command.split(" ");
        const { stdout } = await execute(process.execPath, [program, ...words], { cwd: dir, mayFail: true });
        expect(stdout).toBe(answer);
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
