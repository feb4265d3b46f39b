import { readFileSync } from "node:fs";
import { compileFunction } from "node:vm";
import { expect, test } from "vitest";
import * as cooperage from "../../src/index.js";

const examples = [...readFileSync("docs/parser.md", "utf8").matchAll(/```js\n([^]*?)```/g)].map(
  ([, code = ""]) => code,
);

/** Runs an example with the library in the place of its import, and gives what it prints. */
async function run(example: string): Promise<readonly string[]> {
  const body = example.replace(/^import (\{.*\}) from "cooperage";$/m, "const $1 = cooperage;");
  const printed: string[] = [];
  const log = (...values: readonly unknown[]): unknown => printed.push(values.join(" "));
  const script = compileFunction(`return (async () => {${body}})();`, ["cooperage", "console"]) as (
    ...given: readonly unknown[]
  ) => Promise<void>;
  await script(cooperage, { log });
  return printed;
}

test.each(examples)("docs/parser.md: an example prints what stands behind it: %s", async (example) => {
  const expected = [...example.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, shown = ""]) => shown);
  expect(expected.length).toBeGreaterThan(0);
  expect(await run(example)).toEqual(expected);
});
