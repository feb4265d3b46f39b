import { CooperError } from "../errors.js";
import { hostPlatform } from "../image/index.js";
import type { Containerfile, Flag, Instruction } from "../parser/index.js";
import { checkRunMount } from "../parser/index.js";
import type { Diagnostic, SourceText, Span } from "../source.js";
import { parseChmod } from "./copy/chmod.js";
import { makePlan } from "./plan.js";
import { ENTITLEMENTS } from "./run-settings.js";
import { checkChoice } from "./run-flags.js";
import { scratchConfig } from "./state.js";
import { applyMetadata } from "./steps/metadata.js";
import { checkOwner } from "./users.js";

/** Stages and findings beyond these numbers are not looked for: each costs a plan. */
const MOST_STAGES = 100;
const MOST_PROBLEMS = 100;

/**
 * What a build would refuse of a file that parses, as far as its text alone can tell: the same code as the build's, asked
 * about every stage and every value without variables. Codes are `InvalidStage` and `InvalidValue`.
 */
export function problemsOf(source: SourceText, file: Containerfile): readonly Diagnostic[] {
  const found = new Map<number, Diagnostic>();
  for (const problem of [...valueProblems(source, file), ...stageProblems(source, file)]) {
    if (!found.has(problem.span.start)) found.set(problem.span.start, problem);
  }
  return [...found.values()].toSorted((a, b) => a.span.start - b.span.start);
}

function valueProblems(source: SourceText, { escape, instructions }: Containerfile): readonly Diagnostic[] {
  const found: Diagnostic[] = [];
  const attempt = (span: Span, work: () => unknown): void => {
    const problem = failureOf(work);
    if (problem && problem.code !== "unsupported") found.push(diagnostic("InvalidValue", problem, span));
  };
  for (const instruction of instructions) {
    for (const flag of instruction.flags) attempt(flag.span, () => checkFlag(source, instruction, flag));
    if (isValue(instruction) && !hasVariable(instruction)) {
      const state = { config: scratchConfig(hostPlatform()), args: new Map<string, string>(), cmdSet: false };
      attempt(instruction.span, () => applyMetadata(instruction, state, { source, escape }));
    }
  }
  return found;
}

function checkFlag(source: SourceText, { kind }: Instruction, flag: Flag): void {
  const { name, value = "" } = flag;
  if (kind === "RUN" && name === "mount") {
    checkRunMount(value, (text) => (text.includes("$") ? undefined : text));
  } else if (kind === "RUN") checkChoice(flag, source);
  else if ((kind === "COPY" || kind === "ADD") && value !== "" && !value.includes("$")) {
    if (name === "chmod") parseChmod(value);
    if (name === "chown") checkOwner(value);
  }
}

const VALUES = ["EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "VOLUME", "WORKDIR", "USER"] as const;
type ValueInstruction = Extract<Instruction, { readonly kind: (typeof VALUES)[number] }>;

function isValue(instruction: Instruction): instruction is ValueInstruction {
  return VALUES.some((kind) => kind === instruction.kind);
}

function hasVariable({ text }: Instruction): boolean {
  return text.includes("$");
}

/** Plans every stage; an instruction that is refused is left out, and the rest tried again. */
function stageProblems(source: SourceText, file: Containerfile): readonly Diagnostic[] {
  const stages = file.instructions.filter(({ kind }) => kind === "FROM").length;
  const found: Diagnostic[] = [];
  const refused = new Set<Instruction>();
  for (let stage = 0; stage < Math.min(stages, MOST_STAGES); stage++) {
    while (refused.size < MOST_PROBLEMS) {
      const instructions = file.instructions.filter((instruction) => !refused.has(instruction));
      const problem = failureOf(() => plan(source, { ...file, instructions }, stage));
      const at = problem?.span;
      const culprit = at && instructions.findLast(({ span }) => span.start <= at.start);
      if (!problem || !culprit || !at) break;
      refused.add(culprit);
      if (problem.code !== "unsupported" && !hasVariable(culprit))
        found.push(diagnostic("InvalidStage", problem, at));
      if (culprit.kind === "FROM") return found;
    }
  }
  return found;
}

function plan(source: SourceText, file: Containerfile, stage: number): void {
  makePlan(source, file, {
    target: String(stage),
    buildArgs: new Map(),
    contexts: new Map(),
    platform: hostPlatform(),
    labels: {},
    // Who builds it decides that.
    allow: new Set(ENTITLEMENTS),
  });
}

function failureOf(work: () => unknown): CooperError | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof CooperError) return error;
    throw error;
  }
}

function diagnostic(code: string, { message, span, hint }: CooperError, around: Span): Diagnostic {
  return { code, severity: "error", message, span: span ?? around, ...(hint === undefined ? {} : { hint }) };
}
