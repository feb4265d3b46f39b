import { describe, expect, test } from "vitest";
import { check } from "../../src/api/check.js";
import { makePlan } from "../../src/builder/index.js";
import type { CooperError } from "../../src/errors.js";
import { hostPlatform } from "../../src/image/index.js";
import type { Instruction } from "../../src/parser/index.js";
import { analyze, parse, print } from "../../src/parser/index.js";

const MiB = 1024 * 1024;

const instructions = async (text: string): Promise<readonly Instruction[]> =>
  (await parse({ name: "Containerfile", text })).instructions;

const errorOf = async (text: string): Promise<CooperError> =>
  parse({ name: "Containerfile", text }).then(
    () => expect.fail("it was accepted"),
    (reason: unknown) => reason as CooperError,
  );

const textOf = (instruction: Instruction | undefined): string =>
  instruction?.kind === "RUN" && instruction.command.form === "shell" ? instruction.command.text : "";

describe("P07, G1: nothing of a long file is lost, and every place is exact", () => {
  test("100,000 instructions in 10 MB", async () => {
    const lines = Array.from({ length: 100_000 }, (_, index) => `RUN ${String(index).padEnd(96, "x")}`);
    const found = await instructions(`FROM a\n${lines.join("\n")}\n`);
    expect(found.length).toBe(100_001);
    expect(found.slice(1).map(textOf).join()).toBe(lines.map((line) => line.slice(4)).join());
    expect(found.at(-1)?.span.line).toBe(100_001);
  });

  test("10,000 stages", async () => {
    const found = await instructions("FROM a AS b\nRUN c\n".repeat(10_000));
    expect(found.filter(({ kind }) => kind === "FROM").length).toBe(10_000);
  });

  test("10,000 stages that are built from one another are planned", async () => {
    const text = Array.from(
      { length: 10_000 },
      (_, i) => `FROM s${i - 1} AS s${i}\nCOPY --from=s${i - 1} /a /b\n`,
    );
    const source = { name: "Containerfile", text: ["FROM scratch AS s-1\n", ...text].join("") };
    const plan = makePlan(source, await parse(source), {
      allow: new Set(),
      buildArgs: new Map(),
      contexts: new Map(),
      platform: hostPlatform(),
      labels: {},
    });
    expect(plan.stages.length).toBe(10_001);
    expect(plan.stages.at(-1)?.base).toEqual({ kind: "stage", stage: 9_999 });
    expect([...(plan.stages.at(-1)?.origins.values() ?? [])]).toEqual([{ kind: "stage", stage: 9_999 }]);
  });

  test("100,000 findings on one line have their places", async () => {
    const words = Array.from({ length: 100_000 }, (_, i) => `k${i}=$v${i}`);
    const found = await check(`FROM scratch\nENV ${words.join(" ")}\n`);
    expect(found.length).toBe(100_000);
    expect(found.at(-1)?.span).toMatchObject({
      line: 2,
      column: 5 + words.join(" ").length - "$v99999".length,
    });
  });

  test.each([64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, MiB, 2 * MiB + 1, 10 * MiB])(
    "a line of %i characters",
    async (length) => {
      const found = await instructions(`FROM a\nRUN ${"x".repeat(length - 4)}\nRUN end\n`);
      expect(textOf(found[1]).length).toBe(length - 4);
      expect(textOf(found[2])).toBe("end");
      expect(found[2]?.span.line).toBe(3);
    },
  );

  test("100,000 continuation lines, blank ones and comments among them", async () => {
    const found = await instructions(`FROM a\nENV ${"a=b \\\n# c\n".repeat(100_000)}z=\nRUN end\n`);
    expect(found[1]).toMatchObject({ kind: "ENV", span: { line: 2, endLine: 200_002 } });
    expect(found[1]?.kind === "ENV" && found[1].pairs.length).toBe(100_001);
    expect(found[2]?.span.line).toBe(200_003);
    expect(textOf((await instructions(`FROM a\nRUN x\\\n${"\n".repeat(MiB)}y\n`))[1])).toBe("xy");
    expect(textOf((await instructions(`FROM a\nRUN x\\\n${"\\\n".repeat(100_000)}y\n`))[1])).toBe("xy");
  });

  test("half a million words, pairs, array elements", async () => {
    const [, expose, env, run] = await instructions(
      `FROM a\nEXPOSE ${"1 ".repeat(500_000)}\nENV ${"a=b ".repeat(250_000)}\nRUN [${'"a",'.repeat(250_000)}"b"]\n`,
    );
    expect(expose?.kind === "EXPOSE" && expose.words.length).toBe(500_000);
    expect(env?.kind === "ENV" && env.pairs.length).toBe(250_000);
    expect(run?.kind === "RUN" && run.command.form === "exec" && run.command.argv.length).toBe(250_001);
  });

  test("100,000 heredocs of one instruction, and a body of 10 MB", async () => {
    const many = await instructions(
      `FROM a\nCOPY ${"<<A ".repeat(100_000)}/x/\n${"A\n".repeat(100_000)}RUN end\n`,
    );
    expect(many[1]?.heredocs.length).toBe(100_000);
    expect(textOf(many[2])).toBe("end");
    const body = "line\n".repeat(2 * MiB);
    const long = await instructions(`FROM a\nRUN <<EOF\n${body}EOF\nRUN end\n`);
    expect(long[1]?.heredocs[0]?.body === body).toBe(true);
    expect(textOf(long[2])).toBe("end");
  });

  test("a megabyte of blanks, of brackets, of braces", async () => {
    expect(textOf((await instructions(`FROM a\nRUN${" ".repeat(MiB)}x\n`))[1])).toBe("x");
    expect(textOf((await instructions(`FROM a\nRUN ${"[".repeat(MiB)}\n`))[1]).length).toBe(MiB);
    expect(textOf((await instructions(`FROM a\nRUN [${'"a",'.repeat(MiB / 4)}\n`))[1]).length).toBe(MiB + 1);
    expect(textOf((await instructions(`FROM a\nRUN ${"${ ".repeat(MiB / 4)}a<<A\n`))[1]).length).toBe(
      (3 * MiB) / 4 + 4,
    );
    const deep = await errorOf(`FROM a\nRUN [${"[".repeat(MiB)}${"]".repeat(MiB)}]\n`);
    expect(deep.message).toBe("Containerfile:2:6: a JSON array may hold only strings here");
  });

  test.each<[string, string, string]>([
    ["quote", `FROM a\n\nENV a="${"x ".repeat(MiB)}`, '3:7: the quote " is never closed'],
    ["heredoc", `FROM a\nRUN <<EOF\n${"x\n".repeat(5 * MiB)}`, '2:5: the heredoc "<<EOF" is never ended'],
    ["many heredocs", `FROM a\nRUN ${"<<A ".repeat(100_000)}`, '2:5: the heredoc "<<A" is never ended'],
  ])("an unclosed %s is told with its place", async (_, text, message) => {
    expect((await errorOf(text)).message).toBe(`Containerfile:${message}`);
  });

  test("100,000 errors are all counted, and the first hundred listed", async () => {
    const flags = await errorOf(`FROM a\nRUN ${"--mo=x ".repeat(100_000)}y\n`);
    expect(flags.message).toBe('Containerfile:2:5: RUN has no flag "--mo" (+99999 more errors)');
    const unknown = await errorOf(`FROM a\n${"RNU x\n".repeat(100_000)}`);
    expect(unknown.message).toBe('Containerfile:2:1: unknown instruction "RNU" (+99999 more errors)');
    expect(unknown.findings.length).toBe(101);
    expect(unknown.findings.at(-1)).toMatch(
      /^Containerfile:102:1: error: 99900 more errors from here on, not listed/,
    );
  });

  test("100,000 flags, and 100,000 words ONBUILD", async () => {
    const [, run] = await instructions(`FROM a\nRUN ${"--mount=type=cache ".repeat(100_000)}x\n`);
    expect(run?.flags.length).toBe(100_000);
    const error = await errorOf(`FROM a\n${"ONBUILD ".repeat(100_000)}\n`);
    expect(error.message).toBe("Containerfile:2:9: ONBUILD cannot trigger ONBUILD");
  });

  test("what is long is printed back, and checked", async () => {
    const files = [
      `FROM a\n${"# comment\n".repeat(200_000)}RUN x\n${"# comment\n".repeat(200_000)}`,
      `FROM a\nRUN x \\\n${"# comment\n  y \\\n".repeat(50_000)}  z\n`,
      `FROM a\nCOPY <<EOF /x\n${"line\n".repeat(2 * MiB)}EOF\n`,
      `FROM a\nENV ${"a=b ".repeat(100_000)}\nEXPOSE ${"1 ".repeat(100_000)}\n`,
      "FROM a AS b\nENV c=$c:d\n".repeat(100),
    ];
    for (const text of files) {
      const file = await parse({ name: "Containerfile", text });
      const again = await parse({ name: "Containerfile", text: await print(file) });
      expect(again.instructions.length).toBe(file.instructions.length);
      expect(again.comments.length).toBe(file.comments.length);
      const texts = [file, again].map(({ instructions: found }) => found.map((one) => one.text).join("\n"));
      expect(texts[0] === texts[1]).toBe(true);
      expect((await check(text)).filter(({ severity }) => severity === "error")).toEqual([]);
    }
  });

  test.each(['"', "'", "\\", "`", "$", "${", "<<", "--", "=", "[", "\t", "\u00a0"])(
    "a megabyte of %j in every instruction is read or refused with its place",
    async (piece) => {
      const long = piece.repeat(MiB / 4);
      const before = [
        "RUN ",
        "ENV a=",
        "LABEL ",
        "COPY ",
        "USER ",
        "SHELL ",
        "RUN --mount=",
        "ONBUILD ENV b=",
      ];
      const text = `FROM a\n${before.map((start) => `${start}${long}\nRUN end\n`).join("")}`;
      const { file, diagnostics } = await analyze({ name: "Containerfile", text });
      expect(file.instructions[0]?.kind).toBe("FROM");
      for (const { span } of diagnostics) expect(span.line).toBeLessThanOrEqual(2 * before.length + 1);
      expect(diagnostics.length).toBeLessThanOrEqual(2 * before.length + 10_000);
    },
  );
});
