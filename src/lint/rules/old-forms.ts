import type { PairsInstruction } from "../../parser/index.js";
import type { Edit, SourceText } from "../../source.js";
import { keywordOf } from "../places.js";
import type { StepRule, TextRule } from "../rule.js";

export const maintainerDeprecated: TextRule = {
  rule: {
    name: "MaintainerDeprecated",
    origin: "BuildKit",
    says: "LABEL takes the place of MAINTAINER",
    why: "MAINTAINER is deprecated, and what it says is not found where tools look for it.",
    bad: "FROM scratch\nMAINTAINER The Web Team",
    good: 'FROM scratch\nLABEL org.opencontainers.image.authors="The Web Team"',
    fixes: false,
  },
  *find({ source, stages }) {
    for (const instruction of stages.flatMap(({ instructions }) => instructions)) {
      if (instruction.kind !== "MAINTAINER") continue;
      yield {
        rule: "MaintainerDeprecated",
        message: "MAINTAINER is deprecated",
        span: keywordOf(source, instruction).span,
        hint: `write LABEL org.opencontainers.image.authors=${JSON.stringify(instruction.value.text)}`,
      };
    }
  },
};

export const legacyKeyValueFormat: StepRule = {
  rule: {
    name: "LegacyKeyValueFormat",
    origin: "BuildKit",
    says: "ENV and LABEL are written name=value",
    why: "The old form, name and value with a blank between, takes the whole rest of the line for one value.",
    bad: "FROM scratch\nENV DIR /opt/app",
    good: "FROM scratch\nENV DIR=/opt/app",
    fixes: true,
  },
  *find({ source, instruction }) {
    if ((instruction.kind !== "ENV" && instruction.kind !== "LABEL") || !instruction.legacy) return;
    const { kind, pairs } = instruction;
    const fix = withEquals(source, instruction);
    yield {
      rule: "LegacyKeyValueFormat",
      message: `"${kind} name value" is the old form`,
      span: pairs[0] ? { ...pairs[0].key.span } : instruction.span,
      hint: `write ${kind} ${pairs[0]?.key.text ?? "name"}=value, in double quotes if the value has blanks`,
      ...(fix ? { fix } : {}),
    };
  },
};

/** Edits to `name=value`; undefined for a value whose quotes would have to be thought about. */
function withEquals({ text }: SourceText, { pairs }: PairsInstruction): readonly Edit[] | undefined {
  const [pair] = pairs;
  if (!pair || pairs.length > 1) return undefined;
  const { key, value } = pair;
  const between = text.slice(key.span.end, value.span.start);
  if (!/^[A-Za-z_][\w.-]*$/.test(key.text) || !/^[ \t]+$/.test(between)) return undefined;
  const quoted = /[\s\x85]/.test(value.text);
  if (quoted && /["'\\`]/.test(value.text)) return undefined;
  const equals = { start: key.span.end, end: value.span.start, text: quoted ? '="' : "=" };
  return quoted ? [equals, { start: value.span.end, end: value.span.end, text: '"' }] : [equals];
}
