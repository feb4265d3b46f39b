import type { Heredoc, Instruction, Word } from "../../parser/index.js";
import { nearest } from "../../parser/index.js";
import type { SourceText, Span } from "../../source.js";
import type { Environment } from "../environment.js";
import { bodiesOf, flagWord, partOf } from "../places.js";
import type { Finding, StepRule } from "../rule.js";
import { variablesIn } from "../variables.js";

export const undefinedVar: StepRule = {
  rule: {
    name: "UndefinedVar",
    origin: "BuildKit",
    says: "Variables are set before they are used",
    why: "A variable that nothing sets is empty, most often because its name is mistyped. In a stage whose base image is not known nothing is said.",
    bad: "FROM scratch\nARG VERSION=1\nENV RELEASE=$VERSOIN",
    good: "FROM scratch\nARG VERSION=1\nENV RELEASE=$VERSION",
    fixes: false,
  },
  *find({ source, instruction, environment }) {
    if (!environment.complete) return;
    const declared = new Set<string>();
    for (const text of expandedTexts(source, instruction)) {
      const reported = new Set<string>();
      for (const { name, start, end } of variablesIn(text.text, {
        escape: environment.escape,
        quotes: text.quotes,
      })) {
        if (!environment.isUndefined(name) || declared.has(name) || reported.has(name)) continue;
        if (ELSEWHERE.includes(name)) continue;
        reported.add(name);
        yield finding(name, text.place(start, end), environment);
      }
      if (text.declares !== undefined) declared.add(text.declares);
    }
  },
};

/** A scanner of packages sets them for itself. Source: BuildKit. */
const ELSEWHERE = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/** Among more names none is looked for: it would cost more than the hint is worth. */
const MOST_NAMES = 1000;

function finding(name: string, span: Span, environment: Environment): Finding {
  const names = environment.names();
  const meant = names.length > MOST_NAMES ? undefined : nearest(name, names);
  const hint =
    meant === undefined ? `declare it with ARG ${name}, or set it with ENV` : `did you mean $${meant}?`;
  return { rule: "UndefinedVar", message: `nothing sets the variable $${name}`, span, hint };
}

/** A text of an instruction in which the builder fills in variables. */
interface ExpandedText {
  readonly text: string;
  readonly quotes: boolean;
  /** Variable that the words after this one see. */
  readonly declares?: string;
  place(start: number, end: number): Span;
}

/** Source: Dockerfile reference, "Environment replacement"; BuildKit says nothing of EXPOSE, MAINTAINER and `--exclude`. */
function expandedTexts(source: SourceText, instruction: Instruction): readonly ExpandedText[] {
  const word = (found: Word): ExpandedText => ({
    text: found.text,
    quotes: true,
    place: (start, end) => partOf(source, found, start, end),
  });
  const flags = (...names: readonly string[]): readonly ExpandedText[] =>
    instruction.flags.flatMap((flag) => {
      const value = names.includes(flag.name) ? flagWord(source, flag) : undefined;
      return value ? [word(value)] : [];
    });
  switch (instruction.kind) {
    case "COPY":
    case "ADD": {
      const words = [...instruction.sources, instruction.destination].map(word);
      return [
        ...flags("from", "chown", "chmod", "checksum"),
        ...words,
        ...bodies(source, instruction.heredocs),
      ];
    }
    case "RUN":
      return flags("mount");
    case "ENV":
    case "LABEL":
      return instruction.pairs.flatMap(({ key, value }) => [word(key), word(value)]);
    case "ARG":
      return instruction.args.map(({ name, default: value }) => ({
        ...word(value ?? { text: "", span: instruction.span }),
        declares: name,
      }));
    case "WORKDIR":
    case "USER":
    case "STOPSIGNAL":
      return [word(instruction.value)];
    case "VOLUME":
      return instruction.words.map(word);
    default:
      return [];
  }
}

function bodies(source: SourceText, heredocs: readonly Heredoc[]): readonly ExpandedText[] {
  return bodiesOf(source, heredocs)
    .filter(({ heredoc }) => heredoc.expand)
    .map(({ heredoc, place }) => ({ text: heredoc.body, quotes: false, place }));
}
