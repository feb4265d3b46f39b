import { describe, expect, test } from "vitest";
import { check, lintRules } from "../../src/index.js";
import type { LintRule } from "../../src/index.js";

/** The part of docs/lint.md that the table of rules makes: `npx vitest run test/lint/document.test.ts -u` writes it anew. */
function document(rules: readonly LintRule[]): string {
  const row = ({ name, says, fixes, experimental }: LintRule): string =>
    `| [${name}](#${name.toLowerCase()}) | ${says.replaceAll("|", "\\|")} | ${fixes ? "yes" : ""} | ${experimental ? "when asked" : "always"} |`;
  const table = (origin: string): readonly string[] => [
    "| Rule | Says | Fix | On |",
    "| --- | --- | --- | --- |",
    ...rules.filter((rule) => rule.origin === origin).map(row),
  ];
  const section = ({ name, says, why, bad, good }: LintRule): string =>
    [`### ${name}`, "", `${says}. ${why}`, "", fence(bad), "", "Better:", "", fence(good), ""].join("\n");
  return [
    "# The rules of cooper lint",
    "",
    "Made from the table in `src/lint/rules.ts`. How to run, skip and fix is in [lint.md](lint.md).",
    "",
    "## BuildKit's",
    "",
    "Names and conditions are those of `docker build --check`, so suppressions port.",
    "",
    ...table("BuildKit"),
    "",
    "## Ours",
    "",
    "Other builders do not know these names, and say nothing when a suppression holds one.",
    "",
    ...table("cooper"),
    "",
    "## Each rule",
    "",
    ...rules.map(section),
  ].join("\n");
}

function fence(text: string): string {
  return `\`\`\`dockerfile\n${text}\n\`\`\``;
}

test("docs/lint-rules.md is what the table of rules says", async () => {
  await expect(document(lintRules)).toMatchFileSnapshot("../../docs/lint-rules.md");
});

describe("the examples", () => {
  /** Rules that need more than the text: fixtures show them. */
  const needFacts = ["CopyIgnoredFile", "InvalidBaseImagePlatform"];

  test.each(lintRules)("of $name are what they say", async ({ name, bad, good }) => {
    const codes = async (text: string) => (await check(`${text}\n`)).map(({ code }) => code);
    if (!needFacts.includes(name)) expect(await codes(bad)).toContain(name);
    expect(await codes(good)).not.toContain(name);
  });
});
