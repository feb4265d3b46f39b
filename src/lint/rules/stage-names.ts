import type { Instruction } from "../../parser/index.js";
import type { Edit, SourceText, Span } from "../../source.js";
import { sourceOf } from "../places.js";
import type { Stage, TextRule, TextScope } from "../rule.js";

const RESERVED = ["context", "scratch"];

export const stageNameCasing: TextRule = {
  rule: {
    name: "StageNameCasing",
    origin: "BuildKit",
    says: "Stage names are in lower case",
    why: "Case does not tell stages apart, and BuildKit finds a stage in FROM only by its name in lower case.",
    bad: "FROM scratch AS Build",
    good: "FROM scratch AS build",
    fixes: true,
  },
  *find(scope) {
    for (const { index, from, name } of scope.stages) {
      if (!from.alias || name === undefined || from.alias.text === name) continue;
      const { span, text } = from.alias;
      yield {
        rule: "StageNameCasing",
        message: `the stage name "${text}" should be in lower case`,
        span,
        hint: `write ${name}`,
        fix: [{ start: span.start, end: span.end, text: name }, ...renamings(scope, index, name)],
      };
    }
  },
};

export const duplicateStageName: TextRule = {
  rule: {
    name: "DuplicateStageName",
    origin: "BuildKit",
    says: "No two stages have the same name",
    why: "The later stage hides the earlier one, also from FROM and --from that meant the earlier.",
    bad: "FROM scratch AS base\nFROM scratch AS base",
    good: "FROM scratch AS base\nFROM scratch AS tools",
    fixes: false,
  },
  *find({ stages }) {
    const first = new Map<string, Stage>();
    for (const stage of stages) {
      const { from, name } = stage;
      if (!from.alias || name === undefined) continue;
      const earlier = first.get(name);
      if (!earlier) first.set(name, stage);
      else {
        yield {
          rule: "DuplicateStageName",
          message: `there is a stage "${name}" already, in line ${earlier.from.span.line}`,
          span: from.alias.span,
          hint: "give one of them another name",
        };
      }
    }
  },
};

export const reservedStageName: TextRule = {
  rule: {
    name: "ReservedStageName",
    origin: "BuildKit",
    says: "No stage is named context or scratch",
    why: "These words mean the build context and the empty image; a stage of that name cannot be reached.",
    bad: "FROM scratch AS context",
    good: "FROM scratch AS files",
    fixes: false,
  },
  *find({ stages }) {
    for (const { from, name } of stages) {
      if (!from.alias || name === undefined || !RESERVED.includes(name)) continue;
      yield {
        rule: "ReservedStageName",
        message: `"${from.alias.text}" is a reserved word and cannot be the name of a stage`,
        span: from.alias.span,
        hint: "give the stage another name",
      };
    }
  },
};

/** Edits that give the uses of a stage's name its lower case, up to the next stage of that name. */
function renamings({ source, stages }: TextScope, index: number, name: string): readonly Edit[] {
  const edits: Edit[] = [];
  for (let at = index; at < stages.length; at++) {
    const { from, instructions, name: own } = stages[at] ?? {};
    if (!from || !instructions) break;
    if (at > index && isOther(from.image.text, name)) edits.push(edit(from.image.span, name));
    if (at > index && own === name) break;
    for (const instruction of instructions) edits.push(...uses(source, instruction, name));
  }
  return edits;
}

function isOther(text: string, name: string): boolean {
  return text !== name && text.toLowerCase() === name;
}

function edit({ start, end }: Pick<Span, "start" | "end">, text: string): Edit {
  return { start, end, text };
}

/** `--from=NAME` of COPY and `from=NAME` of a mount, where they are written plainly. */
function uses(source: SourceText, { kind, flags }: Instruction, name: string): readonly Edit[] {
  if (kind !== "COPY" && kind !== "RUN") return [];
  return flags.flatMap(({ name: flag, span }): readonly Edit[] => {
    if (flag !== (kind === "COPY" ? "from" : "mount")) return [];
    const pattern = kind === "COPY" ? /^--from=(.*)$/d : /^--mount=(?:.*,)?from=([^,]*)(?:,|$)/d;
    const found = pattern.exec(sourceOf(source, span));
    const range = found?.indices?.[1];
    if (!range || !isOther(found[1] ?? "", name)) return [];
    return [edit({ start: span.start + range[0], end: span.start + range[1] }, name)];
  });
}
