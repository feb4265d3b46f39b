import type { Instruction } from "../../parser/index.js";
import type { SourceText } from "../../source.js";
import { keywordOf } from "../places.js";
import type { Finding, TextRule, TextScope } from "../rule.js";

export const invalidDefinitionDescription: TextRule = {
  rule: {
    name: "InvalidDefinitionDescription",
    origin: "BuildKit",
    says: "A comment above ARG, or above FROM with a name, begins with the name that it describes",
    why: "Tools show these comments as descriptions of stages and arguments. An empty comment line between says that it is none.",
    bad: "# check=experimental=InvalidDefinitionDescription\n# The version to build\nARG VERSION=1\nFROM scratch",
    good: "# check=experimental=InvalidDefinitionDescription\n# VERSION to build\nARG VERSION=1\nFROM scratch",
    fixes: false,
    experimental: true,
  },
  find: findings,
};

function* findings({ source, file }: TextScope): Generator<Finding> {
  const top = file.directives.at(-1)?.span.end ?? 0;
  for (const instruction of file.instructions) {
    const [first, ...more] = definedNames(instruction);
    if (first === undefined) continue;
    const comment = commentAbove(source, instruction.span.start, top);
    if (comment === "" || [first, ...more].includes(comment.split(" ")[0] ?? "")) continue;
    const wanted = more.length > 0 ? "one of the names" : first;
    yield {
      rule: "InvalidDefinitionDescription",
      message: `the comment above this ${instruction.kind} does not begin with ${wanted}`,
      span: keywordOf(source, instruction).span,
      hint: `write "# ${first} …", or put an empty comment line between`,
    };
  }
}

function definedNames(instruction: Instruction): readonly string[] {
  if (instruction.kind === "ARG") return instruction.args.map(({ name }) => name);
  if (instruction.kind === "FROM" && instruction.alias) return [instruction.alias.text.toLowerCase()];
  return [];
}

/** The last comment line above an instruction, empty lines aside; "" when something else stands there. */
function commentAbove({ text }: SourceText, start: number, top: number): string {
  let end = text.lastIndexOf("\n", start);
  while (end > top) {
    const begin = text.lastIndexOf("\n", end - 1) + 1;
    const line = text.slice(begin, end).trim();
    if (line !== "") return line.startsWith("#") ? line.slice(1).trim() : "";
    end = begin - 1;
  }
  return "";
}
