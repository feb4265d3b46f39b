import type { FromInstruction } from "../../parser/index.js";
import type { Edit, SourceText, Span } from "../../source.js";
import { keywordOf, spanAt } from "../places.js";
import type { Finding, TextRule, TextScope } from "../rule.js";

export const consistentInstructionCasing: TextRule = {
  rule: {
    name: "ConsistentInstructionCasing",
    origin: "BuildKit",
    says: "Instructions are written all in upper case or all in lower case",
    why: "Mixed keywords make a file hard to scan. What most instructions do wins; with no majority, upper case.",
    bad: "FROM scratch\nLABEL a=1\nlabel b=2",
    good: "FROM scratch\nLABEL a=1\nLABEL b=2",
    fixes: true,
  },
  *find({ source, file }) {
    const words = file.instructions.map((instruction) => keywordOf(source, instruction));
    const count = (cased: (text: string) => string): number =>
      words.filter(({ text }) => text === cased(text)).length;
    const lower = count((text) => text.toLowerCase()) > count((text) => text.toUpperCase());
    for (const { text, span, plain } of words) {
      const wanted = lower ? text.toLowerCase() : text.toUpperCase();
      if (text === wanted) continue;
      const fix = plain ? { fix: [replace(span, wanted)] } : {};
      const style = lower ? "lower" : "upper";
      yield {
        rule: "ConsistentInstructionCasing",
        message: `"${text}" should be in ${style} case, as most instructions of this file are`,
        span,
        hint: `write ${wanted}`,
        ...fix,
      };
    }
  },
};

export const fromAsCasing: TextRule = {
  rule: {
    name: "FromAsCasing",
    origin: "BuildKit",
    says: "The AS of a FROM has the case of the FROM",
    why: "Two styles in one line are hard to read.",
    bad: "FROM scratch as build",
    good: "FROM scratch AS build",
    fixes: true,
  },
  find: fromAsFindings,
};

function* fromAsFindings({ source, stages }: TextScope): Generator<Finding> {
  for (const { from } of stages) {
    const as = asKeyword(source, from);
    const { text } = keywordOf(source, from);
    if (!as || (text !== text.toLowerCase() && text !== text.toUpperCase())) continue;
    const wanted = text === text.toLowerCase() ? "as" : "AS";
    if (as.text === wanted) continue;
    yield {
      rule: "FromAsCasing",
      message: `"${as.text}" should have the case of "${text}"`,
      span: as.span,
      hint: `write ${wanted}`,
      fix: [replace(as.span, wanted)],
    };
  }
}

/** The `AS` between image and name, when it stands there in one piece. */
function asKeyword(
  source: SourceText,
  { image, alias }: FromInstruction,
): { readonly text: string; readonly span: Span } | undefined {
  if (!alias) return undefined;
  const between = source.text.slice(image.span.end, alias.span.start);
  const text = /^\s+(as)\s+$/i.exec(between)?.[1];
  if (text === undefined) return undefined;
  const start = image.span.end + between.indexOf(text);
  return { text, span: spanAt(source, image.span, start, start + text.length) };
}

function replace({ start, end }: Span, text: string): Edit {
  return { start, end, text };
}
