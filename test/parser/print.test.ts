import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Containerfile, Instruction } from "../../src/parser/index.js";
import { analyze, parse, print, sourceText } from "../../src/parser/index.js";
import { containerfile } from "./generated.js";

const valid = "fixtures/containerfiles";
const invalid = "fixtures/containerfiles-invalid";
const read = (text: string): Promise<Containerfile> => parse({ name: "Containerfile", text });

/** An AST without its places and warnings. */
function plain(file: object): unknown {
  const drop = ["span", "warnings"];
  return JSON.parse(JSON.stringify(file, (key, value: unknown) => (drop.includes(key) ? undefined : value)));
}

/** The same without what says how an instruction was written. */
function fields(file: object): unknown {
  const drop = ["span", "warnings", "text", "trigger"];
  return JSON.parse(
    JSON.stringify(file, function (this: object, key, value: unknown) {
      return drop.includes(key) && (key !== "text" || "heredocs" in this) ? undefined : value;
    }),
  );
}

test.each(readdirSync(valid))("%s is printed to a text with an equal AST", async (name) => {
  const file = await parse(sourceText("Containerfile", readFileSync(`${valid}/${name}/Containerfile`)));
  const printed = await print(file);
  expect(plain(await read(printed))).toEqual(plain(file));
  expect(await print(await read(printed))).toBe(printed);
});

test.each(readdirSync(invalid))("%s is printed to a text with the same errors", async (name) => {
  const text = readFileSync(`${invalid}/${name}/Containerfile`, "utf8");
  const { file, diagnostics } = await analyze({ name: "Containerfile", text });
  const again = await analyze({ name: "Containerfile", text: await print(file) });
  expect(plain(again.file)).toEqual(plain(file));
  const errors = (found: typeof diagnostics): readonly string[] =>
    found.filter(({ severity }) => severity === "error").map(({ code }) => code);
  expect(errors(again.diagnostics)).toEqual(errors(diagnostics));
});

test("a generated AST is printed to a text with equal fields", async () => {
  await fc.assert(
    fc.asyncProperty(containerfile, async (file) => {
      const printed = await print(file);
      expect(fields(await read(printed))).toEqual(fields(file));
    }),
    { numRuns: 500 },
  );
});

describe("an AST that was changed", () => {
  const change = async (text: string, edit: (instruction: Instruction) => Instruction): Promise<string> => {
    const file = await read(text);
    return print({ ...file, instructions: file.instructions.map(edit) });
  };

  test("is printed with the change, and what was not changed as it was written", async () => {
    const text = "from   a  as b\n# why\nRUN  --network='none'   x  \\\n  y\n";
    const printed = await change(text, (instruction) =>
      instruction.kind === "FROM"
        ? { ...instruction, image: { ...instruction.image, text: "c" } }
        : instruction,
    );
    expect(printed).toBe("FROM c AS b\n# why\nRUN  --network='none'   x    y\n");
  });

  test("may have another heredoc body", async () => {
    const printed = await change("FROM a\nCOPY <<E /x\none\nE\n", (instruction) => ({
      ...instruction,
      heredocs: instruction.heredocs.map((heredoc) => ({ ...heredoc, body: "two\nthree\n" })),
    }));
    expect(printed).toBe("FROM a\nCOPY <<E /x\ntwo\nthree\nE\n");
  });

  test.each([
    ["a line end in a command", "FROM a\nRUN x\n", "x\nRUN y"],
    ["an array in shell form", "FROM a\nRUN x\n", '["a"]'],
  ])("is refused when it has %s", async (_, text, command) => {
    const printed = change(text, (instruction) =>
      instruction.kind === "RUN"
        ? { ...instruction, command: { form: "shell", text: command } }
        : instruction,
    );
    await expect(printed).rejects.toMatchObject({ code: "syntax" });
    await expect(printed).rejects.toThrow("no Containerfile can say this RUN");
  });
});

describe("what the layout of a text could lose", () => {
  test.each([
    ["a comment apart from the instruction below", "# a\n\n# b\nFROM a\n# c\n\nRUN b\n# d\n"],
    ["a comment that would be a directive", "\n# escape=`\nFROM a\nRUN b\\\nc\n"],
    ["a comment behind directives", "# syntax=x\n# check=skip=all\n\n# escape=`\nFROM a\n"],
    ["comments inside of an instruction", "FROM a\nRUN b \\\n# c\n  # d\n  e\n"],
    ["comments before an argument that begins with #", "FROM a\nRUN b \\\n# c\nd\nRU\\\n# e\nN #f\n"],
    ["comments between escapes that lead an instruction", "# a\n\\\n# b\nFROM a\n"],
    ["a comment of a byte order mark", "FROM a\n#\ufeff\n"],
    ["a body whose lines end in other ways", "FROM a\nCOPY <<E /x\na\r\nb\r\r\n\r\nE\r\n"],
    ["an escape at the end of the text", "FROM a\nRUN b\\ \\\n"],
    ["an escape before a form feed", "FROM a\nRUN b\\\f\nRUN c\n"],
    ["two escapes at the end of a line", "FROM a\nRUN b\\\\\nRUN c\n"],
    ["the other escape", "# escape=`\nFROM a\nRUN b `\n# c\n d\\\nRUN e``\n"],
  ])("%s stays", async (_, text) => {
    const file = await read(text);
    expect(plain(await read(await print(file)))).toEqual(plain(file));
  });
});
