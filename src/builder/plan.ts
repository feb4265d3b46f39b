import { CooperError } from "../errors.js";
import type { Platform } from "../image/index.js";
import type { Containerfile, FromInstruction, Instruction } from "../parser/index.js";
import type { SourceText, Span } from "../source.js";
import { platformArgs } from "./args.js";
import { expandAt } from "./expand.js";
import type { Origin, RawStage } from "./origins.js";
import { baseOf, originsOf } from "./origins.js";
import { refuseUnsupported } from "./unsupported.js";

/** One FROM with the instructions after it. */
export interface StagePlan {
  /** Position among the reachable stages, from 0. */
  readonly index: number;
  readonly name?: string;
  readonly from: FromInstruction;
  readonly base: Origin;
  /** Everything after FROM. */
  readonly instructions: readonly Instruction[];
  /** Where each COPY/ADD with `--from` reads, by instruction. */
  readonly origins: ReadonlyMap<Instruction, Origin>;
}

/** A Containerfile made ready to run for one target: pure, nothing outside was touched. */
export interface BuildPlan {
  readonly source: SourceText;
  readonly escape: "\\" | "`";
  readonly platform: Platform;
  /** Stages that the target needs, in file order; the last one is the target. */
  readonly stages: readonly StagePlan[];
  /** ARGs before the first FROM with their values; what a stage's bare `ARG name` inherits. */
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly buildArgs: ReadonlyMap<string, string>;
  /** Names of images that must be there before the first step, each once. */
  readonly images: readonly { readonly name: string; readonly span: Span }[];
  /** Build args that no ARG of the file declares. */
  readonly unusedBuildArgs: readonly string[];
}

export interface PlanOptions {
  readonly target?: string;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly platform: Platform;
  /** `--label`: set by one more LABEL step at the end of the target. */
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Resolves stages, bases and `--from`s, leaves out stages that the target does not need, and refuses what this
 * version cannot do. Throws `syntax`, `not-found` or `unsupported` with a place.
 */
export function makePlan(source: SourceText, file: Containerfile, options: PlanOptions): BuildPlan {
  const { globals, raw } = splitStages(file);
  const globalArgs = evaluateGlobals(source, file, globals, options);
  const target = findTarget(source, raw, options.target);
  const labels = labelInstruction(options.labels, raw[target]);
  if (labels) raw[target]?.instructions.push(labels);
  const bases = raw.map((_, i) => baseOf(source, file.escape, raw, i, globalArgs, options.platform));
  const origins = raw.map((_, i) => originsOf(source, raw, i));
  const reachable = reach(target, bases, origins);
  const position = new Map(reachable.map((original, index) => [original, index]));
  const moved = (origin: Origin): Origin =>
    origin.kind === "stage" ? { kind: "stage", stage: position.get(origin.stage) ?? 0 } : origin;
  const stages = reachable.flatMap((original, index): StagePlan[] => {
    const stage = raw[original];
    const base = bases[original];
    if (!stage || !base) return [];
    refuseUnsupported(source, stage.instructions);
    return [
      {
        index,
        ...(stage.name === undefined ? {} : { name: stage.name }),
        from: stage.from,
        base: moved(base),
        instructions: stage.instructions,
        origins: new Map([...(origins[original] ?? [])].map(([i, o]) => [i, moved(o)])),
      },
    ];
  });
  return {
    source,
    escape: file.escape,
    platform: options.platform,
    stages,
    globalArgs,
    buildArgs: options.buildArgs,
    images: imagesOf(stages),
    unusedBuildArgs: unusedArgs(file, options.buildArgs),
  };
}

function splitStages(file: Containerfile): {
  readonly globals: readonly Instruction[];
  readonly raw: readonly RawStage[];
} {
  const globals: Instruction[] = [];
  const raw: RawStage[] = [];
  for (const instruction of file.instructions) {
    if (instruction.kind === "FROM") {
      const name = instruction.alias?.text.toLowerCase();
      raw.push({ from: instruction, ...(name === undefined ? {} : { name }), instructions: [] });
    } else {
      (raw.at(-1)?.instructions ?? globals).push(instruction);
    }
  }
  return { globals, raw };
}

/** `--label` values as the LABEL instruction that they stand for, quoted so that nothing in them is expanded. */
function labelInstruction(
  labels: Readonly<Record<string, string>>,
  stage: RawStage | undefined,
): Instruction | undefined {
  const entries = Object.entries(labels);
  if (entries.length === 0 || !stage) return undefined;
  const { span } = stage.from;
  const quoted = (text: string) => ({ text: `'${text.replaceAll("'", `'"'"'`)}'`, span });
  const pairs = entries.map(([key, value]) => ({ key: quoted(key), value: quoted(value) }));
  const text = `LABEL ${entries.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(" ")}`;
  return { kind: "LABEL", pairs, legacy: false, text, span, flags: [], comments: [], heredocs: [] };
}

function evaluateGlobals(
  source: SourceText,
  file: Containerfile,
  globals: readonly Instruction[],
  options: PlanOptions,
): ReadonlyMap<string, string> {
  const values = new Map(platformArgs(options.platform));
  for (const instruction of globals) {
    if (instruction.kind !== "ARG") continue;
    for (const arg of instruction.args) {
      const given = options.buildArgs.get(arg.name);
      if (given !== undefined) values.set(arg.name, given);
      else if (arg.default)
        values.set(
          arg.name,
          expandAt(source, arg.default, file.escape, (name) => values.get(name)),
        );
    }
  }
  return values;
}

function findTarget(source: SourceText, raw: readonly RawStage[], target: string | undefined): number {
  if (target === undefined) return raw.length - 1;
  const byName = raw.findLastIndex((stage) => stage.name === target.toLowerCase());
  if (byName >= 0) return byName;
  const index = /^\d+$/.test(target) ? Number(target) : -1;
  if (index >= 0 && index < raw.length) return index;
  const names = raw.flatMap((stage) => (stage.name === undefined ? [] : [stage.name]));
  throw new CooperError("not-found", `${source.name} has no stage "${target}"`, {
    hint:
      names.length > 0
        ? `its stages are ${names.join(", ")}`
        : `it has ${raw.length} stages without names: use a number`,
  });
}

/** Stages that `target` needs, in file order, the target last. */
function reach(
  target: number,
  bases: readonly Origin[],
  origins: readonly ReadonlyMap<Instruction, Origin>[],
): readonly number[] {
  const needed = new Set<number>();
  const pending = [target];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    if (needed.has(at)) continue;
    needed.add(at);
    const base = bases[at];
    for (const origin of [...(base ? [base] : []), ...(origins[at]?.values() ?? [])]) {
      if (origin.kind === "stage") pending.push(origin.stage);
    }
  }
  return [...needed].toSorted((a, b) => a - b);
}

function imagesOf(stages: readonly StagePlan[]): BuildPlan["images"] {
  const found = new Map<string, { readonly name: string; readonly span: Span }>();
  for (const stage of stages) {
    for (const origin of [stage.base, ...stage.origins.values()]) {
      if (origin.kind === "image" && !found.has(origin.name)) found.set(origin.name, origin);
    }
  }
  return [...found.values()];
}

function unusedArgs(file: Containerfile, buildArgs: ReadonlyMap<string, string>): readonly string[] {
  const declared = new Set<string>();
  for (const instruction of file.instructions) {
    if (instruction.kind === "ARG") for (const arg of instruction.args) declared.add(arg.name);
  }
  return [...buildArgs.keys()].filter((name) => !declared.has(name) && !isPredefined(name));
}

const PROXY = /^(?:https?|ftp|no|all)_proxy$/i;

/** Args that count as declared everywhere. Source: BuildKit reference, "Predefined ARGs". */
export function isPredefined(name: string): boolean {
  return PROXY.test(name) || name === "SOURCE_DATE_EPOCH" || name.startsWith("BUILDKIT_");
}
