import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Analysis, analyze, parse } from "../../src/parser/index.js";

const read = (text: string): Promise<Analysis> => analyze({ name: "Containerfile", text });
const told = ({ diagnostics }: Analysis): readonly string[] =>
  diagnostics.map(({ code, severity, span }) => `${span.line}:${span.column} ${severity} ${code}`);

test("broken instructions stay in the file, and every error is told in the order of the text", async () => {
  const text = "FROM a\n# why\nRNU x \\\n  y\nENV z\nRUN \\\n\n ok\nCOPY --form=b c d\n";
  const analysis = await read(text);
  expect(analysis.file.instructions).toMatchObject([
    { kind: "FROM" },
    { kind: "INVALID", text: "RNU x \\\n  y", comments: ["why"], span: { line: 3, endLine: 4 } },
    { kind: "INVALID", keyword: "ENV", text: "ENV z" },
    { kind: "RUN", command: { text: "ok" } },
    { kind: "INVALID", keyword: "COPY" },
  ]);
  expect(analysis.file.instructions[1]).not.toHaveProperty("keyword");
  expect(told(analysis)).toEqual([
    "3:1 error UnknownInstruction",
    "5:5 error InvalidSyntax",
    "9:6 error UnknownFlag",
  ]);
});

test("a file without errors is what parse returns", async () => {
  const text = "# escape=`\nFROM a\n# b\nMAINTAINER c\n";
  const { warnings, ...file } = await parse({ name: "Containerfile", text });
  expect(await read(text)).toEqual({ file, diagnostics: warnings });
});

describe("a heredoc without an end", () => {
  test("takes what follows up to the next instruction", async () => {
    const analysis = await read("FROM a\nRUN <<EOF\nx\nRNU y\nEOFF\nENV b\nCOPY <<E /x\n  RUN z\n");
    expect(analysis.file.instructions).toMatchObject([
      { kind: "FROM" },
      { kind: "INVALID", keyword: "RUN", text: "RUN <<EOF\nx\nRNU y\nEOFF" },
      { kind: "INVALID", keyword: "ENV" },
      { kind: "INVALID", keyword: "COPY", text: "COPY <<E /x\n  RUN z" },
    ]);
    expect(told(analysis)).toEqual([
      "2:5 error UnterminatedHeredoc",
      "6:5 error InvalidSyntax",
      "7:6 error UnterminatedHeredoc",
    ]);
  });

  test("is searched for in linear time, however many there are", async () => {
    const count = 20_000;
    const analysis = await read(
      `FROM a\n${Array.from({ length: count }, (_, i) => `RUN <<E${i}x\n`).join("")}`,
    );
    expect(analysis.diagnostics.length).toBe(101);
    expect(analysis.file.instructions.at(-1)?.span.endLine).toBe(count + 1);
  });
});

test("a NUL is told once, and the rest is read", async () => {
  const analysis = await read("FROM a\nRUN b\0c\0\nENV d\n");
  expect(told(analysis)).toEqual(["2:6 error NulCharacter", "3:5 error InvalidSyntax"]);
});

test("ten thousand errors are listed, and the rest is counted", async () => {
  const { file, diagnostics } = await read(`FROM a\n${"RNU x\n".repeat(25_000)}`);
  expect(file.instructions.length).toBe(25_001);
  expect(diagnostics.length).toBe(10_001);
  expect(diagnostics.at(-1)).toMatchObject({
    code: "TooManyErrors",
    message: "15000 more errors from here on, not listed",
    span: { line: 10_002 },
  });
});

test("no text makes it throw, and every place is in the text", async () => {
  const piece = fc.constantFrom(
    "FROM a",
    "\n",
    " \\\n",
    "RUN",
    "<<E",
    "\0",
    "[",
    '"',
    "'",
    "#",
    "ONBUILD",
    "ENV",
    " ",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
      const text = pieces.join("");
      const { file, diagnostics } = await read(text);
      for (const { span } of [...file.instructions, ...file.comments, ...diagnostics]) {
        expect(0 <= span.start && span.start <= span.end && span.end <= text.length).toBe(true);
      }
      const valid = await parse({ name: "Containerfile", text }).then(
        () => true,
        () => false,
      );
      expect(diagnostics.some(({ severity }) => severity === "error")).toBe(!valid);
      expect(file.instructions.some(({ kind }) => kind === "INVALID") && valid).toBe(false);
    }),
    { numRuns: 1000 },
  );
});
