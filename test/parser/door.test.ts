import { build } from "esbuild";
import { describe, expect, test } from "vitest";
import { createInstructionReader } from "../../src/parser/instruction.js";
import { parse, parseDuration, parseTrigger, PARSER_VERSION, withBodies } from "../../src/parser/index.js";
import { nearest } from "../../src/parser/suggest.js";

test("chevrotain finds no fault with the tokens and the grammar", () => {
  expect(() => createInstructionReader({ validate: true })).not.toThrow();
});

test("importing the door does not load chevrotain", async () => {
  const { metafile } = await build({
    entryPoints: ["src/parser/index.ts"],
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    outdir: "out",
    write: false,
    metafile: true,
    logLevel: "silent",
  });
  const loads = (output: string): readonly string[] => {
    const { inputs, imports } = metafile.outputs[output] ?? { inputs: {}, imports: [] };
    const statics = imports.filter(({ kind, external }) => kind === "import-statement" && external !== true);
    return [...Object.keys(inputs), ...statics.flatMap(({ path }) => loads(path))];
  };
  const door = loads("out/index.js");
  expect(door).toContain("src/parser/expand.ts");
  expect(door.filter((input) => input.includes("node_modules"))).toEqual([]);
  expect(Object.keys(metafile.inputs).some((input) => input.includes("chevrotain"))).toBe(true);
});

test("the version is a whole number", () => {
  expect(Number.isSafeInteger(PARSER_VERSION)).toBe(true);
});

test("two files parsed at once do not mix", async () => {
  const first = parse({ name: "a", text: "# escape=`\nFROM a\nENV p=c:\\ q=`'\n" });
  const second = parse({ name: "b", text: "FROM b\nENV p=\\' q=\\ x\n" });
  const texts = (await Promise.all([first, second])).map(({ instructions }) => instructions[1]);
  expect(texts).toMatchObject([
    { pairs: [{ value: { text: "c:\\" } }, { value: { text: "`'" } }] },
    { pairs: [{ value: { text: "\\'" } }, { value: { text: "\\ x" } }] },
  ]);
});

describe("parseTrigger", () => {
  const trigger = (text: string) => parseTrigger({ name: "ONBUILD", text });

  test("reads what ONBUILD keeps", async () => {
    const text = "FROM a\nONBUILD RUN --network=none cat <<A <<-'B'\n1\nA\n\t2\nB\nONBUILD COPY a b\n";
    const { instructions } = await parse({ name: "Containerfile", text });
    for (const onbuild of instructions) {
      if (onbuild.kind !== "ONBUILD") continue;
      const again = await trigger(onbuild.trigger);
      expect(withBodies(again.text, again.heredocs)).toBe(onbuild.trigger);
      const { kind, flags, heredocs } = onbuild.instruction;
      expect(again).toMatchObject({ kind, flags: flags.map(({ name }) => ({ name })) });
      expect(again.heredocs.map(({ name, body }) => [name, body])).toEqual(
        heredocs.map(({ name, body }) => [name, body]),
      );
    }
    expect(instructions.length).toBe(3);
  });

  test.each([
    ["", "the ONBUILD trigger is empty"],
    ["FROM a", "ONBUILD cannot trigger FROM"],
    ["ONBUILD RUN a", "ONBUILD cannot trigger ONBUILD"],
    ["MAINTAINER a", "ONBUILD cannot trigger MAINTAINER"],
    ["RUN a\nRUN b", "an ONBUILD trigger is one instruction"],
    ["RNU a", 'unknown instruction "RNU"'],
  ])("refuses %j", async (text, message) => {
    await expect(trigger(text)).rejects.toThrow(message);
    await expect(trigger(text)).rejects.toMatchObject({ code: "syntax" });
  });
});

describe("parseDuration", () => {
  test.each([
    ["0", 0],
    ["0s", 0],
    ["1ns", 1],
    ["1us", 1e3],
    ["1µs", 1e3],
    ["1μs", 1e3],
    ["1.5ms", 1.5e6],
    ["30s", 30e9],
    ["1m30s", 90e9],
    ["+1h1m1s1ms", 3661.001e9],
    [".5s", 0.5e9],
    ["2.s", 2e9],
  ])("%s", (text, expected) => {
    expect(parseDuration(text)).toBe(expected);
  });

  test.each(["", "5", "s", "-1s", "1 s", "1S", "1d", "1.5", ".s", "1s1", "9999999h", "1e3s"])(
    "%j is none",
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );
});

test("suggestions are near, or there are none", () => {
  const words = ["RUN", "ENV", "COPY", "ENTRYPOINT", "WORKDIR"];
  expect(["rnu", "COPPY", "entyrponit", "wrkdir", "EVN"].map((word) => nearest(word, words))).toEqual([
    "RUN",
    "COPY",
    "ENTRYPOINT",
    "WORKDIR",
    "ENV",
  ]);
  expect(["", "x", "hello", "include", "x".repeat(1e6)].map((word) => nearest(word, words))).toEqual(
    Array(5).fill(undefined),
  );
});
