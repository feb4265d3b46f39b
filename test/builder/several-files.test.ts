import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";

const build = (lab: Lab, file: string | readonly string[], options: Partial<BuildOptions> = {}) =>
  lab.cooper.build({ contextDir: lab.context, file, ...options });

/** What a build of these files fails with: the message, and all findings. */
async function failure(
  files: Readonly<Record<string, string>>,
): Promise<{ message: string; findings: string }> {
  await using lab = await openLab();
  lab.write(files);
  try {
    await build(
      lab,
      Object.keys(files).map((name) => join(lab.context, name)),
    );
  } catch (error) {
    const { message, where, findings } = error as { message: string; where?: string; findings: string[] };
    const shown = (text: string): string => text.replaceAll(`${lab.context}/`, "");
    return { message: shown(`${where ?? ""} ${message}`), findings: shown(findings.join("\n")) };
  }
  throw new Error("it was built");
}

describe("several files", () => {
  test("are joined in the order given, wherever they are", async () => {
    await using lab = await openLab();
    writeFileSync(join(lab.dir, "outside"), "ENV B=$A-2");
    lab.write({ first: "ARG V=1\nFROM scratch\nENV A=1", last: "\ufeffENV C=$B-3\n" });
    const { config } = await build(lab, ["first", join(lab.dir, "outside"), "last"]);
    expect(config.config.Env?.slice(1)).toEqual(["A=1", "B=1-2", "C=1-2-3"]);
    const again = await build(lab, ["first", join(lab.dir, "outside"), "last"]);
    expect(again.steps).toEqual({ cached: 3, built: 0 });
  });

  test("may have stdin among them", async () => {
    await using lab = await openLab();
    lab.write({ base: "FROM scratch\n", end: "ENV Z=3\n" });
    const { config } = await build(lab, ["base", "-", "end"], { containerfile: "ENV A=from-stdin\n" });
    expect(config.config.Env?.slice(1)).toEqual(["A=from-stdin", "Z=3"]);
    await expect(build(lab, ["-", "base", "-"])).rejects.toMatchObject({ code: "usage" });
  });

  test("an error names its own file, line and column", async () => {
    const { message, findings } = await failure({
      a: "FROM scratch\n\nENV A=1\n",
      b: "# a comment\nENV B=2\n   COPI x y\n",
      c: "FROMM x\n",
    });
    expect(message).toMatch(/^b:3:4 /);
    expect(findings).toContain("b:3:4: error: ");
    expect(findings).toContain("3 |    COPI x y\n");
    expect(findings).toContain("c:1:1: error: ");
  });

  test("so do errors that come after parsing, and warnings", async () => {
    expect((await failure({ a: "FROM scratch\n", b: "ENV A=1\nCOPY missing /\n" })).message).toMatch(
      /^b:2:1 /,
    );
    await using lab = await openLab();
    lab.write({ a: "FROM scratch\n", b: "ENV A=1\nMAINTAINER me\nENV B \\\n\n  C=1\n" });
    const places: string[] = [];
    await build(lab, ["a", "b"], {
      onEvent: (event) => void (event.type === "warning" && places.push(event.where ?? "")),
    });
    expect(places.some((place) => place.endsWith("b:4:1"))).toBe(true);
  });

  test("what one file leaves open, the next does not close", async () => {
    const heredoc = await failure({ a: "FROM scratch\nCOPY <<END /x\ntext\n", b: "END\nENV A=1\n" });
    expect(heredoc.findings).toContain("a:2:6: error: ");
    await using lab = await openLab();
    lab.write({ a: `${BUSYBOX_BASE}RUN echo one \\`, b: "RUN echo two\n" });
    const texts: string[] = [];
    await build(lab, ["a", "b"], {
      onEvent: (event) => void (event.type === "step-start" && texts.push(event.text)),
    });
    expect(texts.slice(-2)).toEqual(["RUN echo one", "RUN echo two"]);
  });

  test("are not taken for one file of the same text, nor the other way round", async () => {
    await using lab = await openLab();
    const [a, b] = ["FROM scratch\nCOPY <<END /x\n", "END\nENV A=1\n"];
    lab.write({ whole: a + b, a, b });
    await build(lab, "whole");
    await expect(build(lab, ["a", "b"])).rejects.toMatchObject({ code: "syntax" });
  });

  test("a directive holds in its own file; two escape characters are refused", async () => {
    await using lab = await openLab();
    lab.write({ a: "# escape=`\nFROM scratch\nENV A=`\n1\n", b: "# escape=`\nENV B=`\n2\n" });
    const { config } = await build(lab, ["a", "b"]);
    expect(config.config.Env?.slice(1)).toEqual(["A=1", "B=2"]);
    const { findings } = await failure({ a: "FROM scratch\n", b: "ENV A=1\n", c: "# escape=`\nENV C=1\n" });
    expect(findings).toContain(
      "c:1:1: error: the escape character is ` here, and another in the files before",
    );
  });

  test("need one FROM before all else, not one each", async () => {
    expect((await failure({ a: "ARG A\n", b: "ENV B=1\nFROM scratch\n" })).message).toMatch(/^b:1:1 /);
    expect((await failure({ a: "# nothing\n", b: "\n" })).message).toContain("the file has no instructions");
  });
});

describe("the one file", () => {
  test("is Containerfile, else Dockerfile, else dockerfile", async () => {
    await using lab = await openLab();
    const named = async (): Promise<string | undefined> =>
      (await lab.cooper.build({ contextDir: lab.context })).config.config.Env?.at(-1);
    for (const name of ["dockerfile", "Dockerfile", "Containerfile"]) {
      lab.write({ [name]: `FROM scratch\nENV FROM=${name}\n` });
      expect(await named()).toBe(`FROM=${name}`);
    }
  });

  test("is no template for cpp, given or found", async () => {
    await using lab = await openLab();
    lab.write({ "Containerfile.in": "FROM scratch\n", "sub/x.in": "FROM scratch\n" });
    await expect(lab.cooper.build({ contextDir: lab.context })).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(
        /Containerfile\.in is a template for cpp, which cooper does not run$/,
      ) as string,
      hint: expect.stringMatching(
        /^run it yourself: cpp -E -P .*Containerfile\.in \| cooper build -f - CONTEXT$/,
      ) as string,
    });
    await expect(build(lab, ["sub/x.in"])).rejects.toMatchObject({ code: "unsupported" });
    lab.write({ Containerfile: "FROM scratch\n" });
    await lab.cooper.build({ contextDir: lab.context });
  });
});
