import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const project = fileURLToPath(new URL("../..", import.meta.url));
const documents = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "docs/architecture.md",
  "docs/glossary.md",
  "docs/ignore.md",
  "docs/parser.md",
];

/** Paths that a document names: targets of links, and words in backticks that begin with a directory of the project. */
function pathsNamedIn(document: string): readonly string[] {
  const text = readFileSync(join(project, document), "utf8");
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target = ""]) =>
    join(dirname(document), target),
  );
  const words = [...text.matchAll(/`((?:src|test|scripts|docs|examples|fixtures|\.ci)\/[^`\s<>{}*]*)`/g)].map(
    ([, path = ""]) => path,
  );
  return [...new Set([...links, ...words])];
}

describe("documents", () => {
  test.each(documents)("%s names only files that exist", (document) => {
    expect(pathsNamedIn(document).filter((path) => !existsSync(join(project, path)))).toEqual([]);
  });

  test("the README's first screen has the two commands, and package.json knows them", () => {
    const screen = readFileSync(join(project, "README.md"), "utf8").split("\n").slice(0, 24).join("\n");
    const { scripts } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
      scripts: Readonly<Record<string, string>>;
    };
    for (const [line, script] of [
      ["npm ci && npm run demo", "demo"],
      ["npm ci && npm test", "test"],
    ] as const) {
      expect(screen).toContain(line);
      expect(scripts).toHaveProperty(script);
    }
  });
});
