import type { Platform } from "../image/index.js";
import { formatPlatform, hostPlatform } from "../image/index.js";
import type { ArgInstruction, Containerfile, Instruction } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { Environment } from "./environment.js";
import type { LintFacts } from "./facts.js";
import type { Stage, StepScope, TextScope } from "./rule.js";

/** What an image without a PATH of its own runs with. Source: runc and BuildKit. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Splits a file at its FROMs. */
export function textScope(source: SourceText, file: Containerfile): TextScope {
  const globals: Instruction[] = [];
  const stages: Stage[] = [];
  let instructions = globals;
  let last = new Map<Instruction["kind"], Instruction>();
  for (const instruction of file.instructions) {
    if (instruction.kind === "FROM") {
      const name = instruction.alias?.text.toLowerCase();
      instructions = [];
      last = new Map();
      stages.push({ index: stages.length, from: instruction, name, instructions, last });
    } else {
      instructions.push(instruction);
      last.set(instruction.kind, instruction);
    }
  }
  return { source, file, stages, globals };
}

/** The variables that FROM sees: platform ARGs, and the ARGs before the first FROM with their defaults or build args. */
export function globalEnvironment(
  { file, globals }: TextScope,
  platform: Platform,
  buildArgs: ReadonlyMap<string, string>,
): Environment {
  const environment = new Environment(file.escape, true);
  for (const [name, value] of platformVariables(platform)) environment.setArg(name, value);
  for (const instruction of globals) {
    if (instruction.kind === "ARG") declare(instruction, environment, buildArgs);
  }
  return environment;
}

/** Source: Dockerfile reference, "Automatic platform ARGs in the global scope". */
function platformVariables(target: Platform): readonly (readonly [string, string])[] {
  const of = (prefix: string, platform: Platform): readonly (readonly [string, string])[] => [
    [`${prefix}PLATFORM`, formatPlatform(platform)],
    [`${prefix}OS`, platform.os],
    [`${prefix}OSVERSION`, ""],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ""],
  ];
  return [...of("TARGET", target), ...of("BUILD", hostPlatform()), ["TARGETSTAGE", "default"]];
}

function declare(
  { args }: ArgInstruction,
  environment: Environment,
  buildArgs: ReadonlyMap<string, string>,
  inherited?: Environment,
): void {
  for (const arg of args) {
    const given = buildArgs.get(arg.name);
    if (given !== undefined) environment.setArg(arg.name, given);
    else if (arg.default) environment.setArg(arg.name, environment.expand(arg.default.text));
    else if (inherited?.has(arg.name)) environment.setArg(arg.name, inherited.value(arg.name));
    else environment.declareArg(arg.name);
  }
}

/**
 * Every instruction of the stages that are built, FROMs included, in order, with the variables it sees. The environment
 * changes when the next step is taken.
 */
export function* steps(scope: TextScope, facts: LintFacts): Generator<StepScope> {
  const buildArgs = facts.buildArgs ?? new Map<string, string>();
  const globals = globalEnvironment(scope, facts.platform, buildArgs);
  const byName = new Map<string, FinishedStage>();
  for (const stage of scope.stages) {
    const { environment, triggers } = baseEnvironment(stage, globals, byName, facts);
    const skipped = facts.isBuilt?.(stage.from) === false;
    const step = { ...scope, stage, environment, facts, isTrigger: false };
    if (!skipped) yield { ...step, instruction: stage.from, environment: globals };
    for (const instruction of triggers) {
      if (!skipped) yield { ...step, instruction, isTrigger: true };
      apply(instruction, environment, buildArgs, globals);
    }
    for (const instruction of stage.instructions) {
      if (!skipped) yield { ...step, instruction };
      apply(instruction, environment, buildArgs, globals);
    }
    if (stage.name !== undefined) byName.set(stage.name, { environment, triggers: triggersOf(stage) });
  }
}

/** What a later stage may start from. */
interface FinishedStage {
  readonly environment: Environment;
  /** What its ONBUILDs do there. */
  readonly triggers: readonly Instruction[];
}

function triggersOf({ instructions }: Stage): readonly Instruction[] {
  return instructions.flatMap((one) => (one.kind === "ONBUILD" ? [one.instruction] : []));
}

function baseEnvironment(
  { from }: Stage,
  globals: Environment,
  stages: ReadonlyMap<string, FinishedStage>,
  facts: LintFacts,
): FinishedStage {
  const name = globals.expand(from.image.text);
  const { escape } = globals;
  const triggers: readonly Instruction[] = [];
  if (name === undefined || name === "") return { environment: new Environment(escape, false), triggers };
  if (name === "scratch") {
    return { environment: new Environment(escape, true, [["PATH", DEFAULT_PATH]]), triggers };
  }
  const stage = stages.get(name.toLowerCase());
  if (stage) return { environment: stage.environment.copy(), triggers: stage.triggers };
  const base = facts.base?.(name);
  const environment = new Environment(escape, base?.env !== undefined, base?.env);
  environment.hasShell = base?.hasShell === true;
  if (environment.complete && !environment.has("PATH")) environment.setEnv("PATH", DEFAULT_PATH);
  return { environment, triggers };
}

function apply(
  instruction: Instruction,
  environment: Environment,
  buildArgs: ReadonlyMap<string, string>,
  globals: Environment,
): void {
  if (instruction.kind === "ARG") declare(instruction, environment, buildArgs, globals);
  else if (instruction.kind === "WORKDIR") environment.workdirSet = true;
  else if (instruction.kind === "SHELL") environment.hasShell = true;
  else if (instruction.kind === "ENV") {
    const pairs = instruction.pairs.map(({ key, value }) => ({
      name: environment.expand(key.text),
      value: environment.expand(value.text),
    }));
    for (const { name, value } of pairs) if (name !== undefined) environment.setEnv(name, value);
  }
}
