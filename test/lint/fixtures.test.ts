import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { rules } from "../../src/lint/index.js";
import { factsOf, findings, fixed } from "./facts.js";

const root = "fixtures/lint";
const names = readdirSync(root);

describe.each(names)("%s", (rule) => {
  test.each(readdirSync(`${root}/${rule}`))("%s", async (name) => {
    const dir = `${root}/${rule}/${name}`;
    const text = readFileSync(`${dir}/Containerfile`, "utf8");
    const expected = JSON.parse(readFileSync(`${dir}/findings.json`, "utf8")) as { findings: unknown };
    const facts = factsOf(dir);
    const found = (await findings(text, facts)).map(({ code, severity, span, message, hint }) => ({
      rule: code,
      place: `${span.line}:${span.column}`,
      text: text.slice(span.start, span.end),
      message,
      ...(severity === "error" ? { severity } : {}),
      ...(hint === undefined ? {} : { hint }),
    }));
    expect(found).toEqual(expected.findings);
    const fixedFile = `${dir}/fixed.Containerfile`;
    expect(await fixed(text, facts)).toBe(existsSync(fixedFile) ? readFileSync(fixedFile, "utf8") : text);
  });
});

describe("every rule", () => {
  const fires = (rule: string, dir: string): boolean =>
    readFileSync(`${root}/${rule}/${dir}/findings.json`, "utf8").includes(`"rule": "${rule}"`);

  test.each(rules)("$name has a fixture that fires and one that does not", ({ name }) => {
    const cases = readdirSync(`${root}/${name}`);
    expect(cases.some((one) => fires(name, one))).toBe(true);
    expect(cases.some((one) => !fires(name, one))).toBe(true);
  });

  test.each(rules)("$name fixes what its entry says", ({ name, fixes }) => {
    const mended = readdirSync(`${root}/${name}`).some((one) =>
      existsSync(`${root}/${name}/${one}/fixed.Containerfile`),
    );
    if (fixes) expect(mended).toBe(true);
  });

  test("there are BuildKit's 22", () => {
    expect(rules.filter(({ origin }) => origin === "BuildKit")).toHaveLength(22);
  });
});
