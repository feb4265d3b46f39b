import { nearest } from "../../parser/index.js";
import { readConfig } from "../check.js";
import { spanAt } from "../places.js";
import type { Finding, Rule, TextRule, TextScope } from "../rule.js";

const rule: Rule = {
  name: "IneffectiveCheck",
  origin: "cooper",
  says: "# check= names rules that there are, without blanks between them",
  why: "Names that are not known, and everything after the first blank, have no effect, here as in BuildKit.",
  bad: "# check=skip=StageNameCasing, FromAsCasing\nFROM scratch",
  good: "# check=skip=StageNameCasing,FromAsCasing\nFROM scratch",
  fixes: false,
};

/** `names`: the rules that there are. */
export function ineffectiveCheck(names: () => readonly string[]): TextRule {
  return { rule, find: (scope) => findings(scope, names()) };
}

function* findings({ source, file }: TextScope, names: readonly string[]): Generator<Finding> {
  const directive = file.directives.find(({ name }) => name === "check");
  if (!directive) return;
  const { value, span } = directive;
  const start = span.end - value.length;
  const at = (from: number, length: number) => spanAt(source, span, start + from, start + from + length);
  const blank = value.search(/\s/);
  if (blank >= 0) {
    yield {
      rule: rule.name,
      message: "nothing after the blank has an effect",
      span: at(blank + 1, value.length - blank - 1),
      hint: "write it without blanks",
    };
  }
  const { skip, experimental } = readConfig(value);
  for (const name of new Set([...skip, ...experimental])) {
    if (name === "" || names.includes(name)) continue;
    const meant = nearest(name, names);
    yield {
      rule: rule.name,
      message: `there is no rule "${name}"`,
      span: at(value.indexOf(name), name.length),
      ...(meant === undefined ? {} : { hint: `did you mean ${meant}?` }),
    };
  }
}
