import { expect, test } from "vitest";
import { expand, expandWords, parse, print } from "../../src/index.js";

test("the library reads, changes and prints a Containerfile", async () => {
  const { file, diagnostics } = await parse("FROM a\nRNU b\n", { name: "x" });
  expect(diagnostics).toMatchObject([
    { code: "UnknownInstruction", span: { line: 2 }, hint: "did you mean RUN?" },
  ]);
  const instructions = file.instructions.filter(({ kind }) => kind !== "INVALID");
  expect(await print({ ...file, instructions })).toBe("FROM a\n");
});

test("words are expanded with a record or a function", () => {
  expect(expand("${v:-x}$toString", { v: "a b" })).toBe("a b");
  expect(expandWords("$v 'c d'", (name) => (name === "v" ? "a b" : undefined))).toEqual(["a", "b", "c d"]);
  expect(expand("`$v", {}, { escape: "`" })).toBe("$v");
  expect(() => expand("${v?must be set}", {})).toThrow("v: must be set");
});
