import { readdirSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import type { Containerfile } from "../../src/parser/index.js";
import { analyze, parse, sourceText } from "../../src/parser/index.js";
import type { CooperError } from "../../src/errors.js";
import { renderDiagnostic, type SourceText, type Span } from "../../src/source.js";

const valid = "fixtures/containerfiles";
const invalid = "fixtures/containerfiles-invalid";

const read = (dir: string, name: string): SourceText =>
  sourceText("Containerfile", readFileSync(`${dir}/${name}/Containerfile`));

const isSpan = (value: unknown): value is Span =>
  typeof value === "object" && value !== null && "endLine" in value;

/** The AST with each span as one string: `line:column-endLine [start,end)`. */
function readable(file: Containerfile): string {
  const shorten = (_: string, value: unknown): unknown =>
    isSpan(value) ? `${value.line}:${value.column}-${value.endLine} [${value.start},${value.end})` : value;
  return `${JSON.stringify(file, shorten, 2)}\n`;
}

function spansOf(value: unknown): readonly { readonly text?: unknown; readonly span: Span }[] {
  if (typeof value !== "object" || value === null || isSpan(value)) return [];
  const own = "span" in value && isSpan(value.span) ? [value as { readonly span: Span }] : [];
  return [...own, ...Object.values(value).flatMap(spansOf)];
}

beforeAll(() => {
  expect(readdirSync(valid).length).toBeGreaterThanOrEqual(150);
  expect(readdirSync(invalid).length).toBeGreaterThanOrEqual(80);
});

describe.each(readdirSync(valid))("%s", (name) => {
  test("is parsed into the AST that its snapshot shows", async () => {
    const file = await parse(read(valid, name));
    await expect(readable(file)).toMatchFileSnapshot(`../../${valid}/${name}/ast.json`);
  });

  test("is plain JSON whose spans are the places of its words", async () => {
    const source = read(valid, name);
    const file = await parse(source);
    expect(JSON.parse(JSON.stringify(file))).toStrictEqual(file);
    for (const { text, span } of spansOf(file)) {
      const written = source.text.slice(span.start, span.end);
      const before = source.text.slice(0, span.start).replace(/^\ufeff/, "");
      expect(span.line).toBe(before.split("\n").length);
      expect(span.column).toBe(before.length - before.lastIndexOf("\n"));
      expect(span.endLine).toBe(span.line + written.split("\n").length - 1);
      const verbatim = typeof text === "string" && !/\n|^["#]/.test(written);
      if (verbatim) expect(written).toBe(text);
    }
  });
});

test.each(readdirSync(invalid))("%s is refused with all of its errors", async (name) => {
  const source = read(invalid, name);
  const error = await parse(source).then(
    () => expect.fail("it was accepted"),
    (reason: unknown) => reason as CooperError,
  );
  expect(error).toMatchObject({ name: "CooperError", code: "syntax" });
  const { diagnostics } = await analyze(source);
  const codes = new Map(diagnostics.map((one) => [renderDiagnostic(source, one), one.code]));
  const told = error.findings.map((finding) => `${codes.get(finding)}\n${finding}`);
  await expect(`${error.message}\n\n${told.join("\n\n")}\n`).toMatchFileSnapshot(
    `../../${invalid}/${name}/error.txt`,
  );
});
