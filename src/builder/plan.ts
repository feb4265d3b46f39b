import { CooperError, withPlace } from "../errors.js";
import type { Platform } from "../image/index.js";
import { formatPlatform } from "../image/index.js";
import type { Containerfile, FromInstruction, Instruction } from "../parser/index.js";
import { expandWord } from "../parser/index.js";
import type { SourceText, Span } from "../source.js";
import { platformArgs } from "./args.js";
import { refuseUnsupported } from "./unsupported.js";

/** What a stage starts from, or a COPY reads from. `stage` is an index into `BuildPlan.stages`. */
export type Origin =
  | { readonly kind: "scratch" }
  | { readonly kind: "stage"; readonly stage: number }
  | { readonly kind: "image"; readonly name: string; readonly span: Span };

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

interface RawStage {
  readonly from: FromInstruction;
  readonly name?: string;
  readonly instructions: Instruction[];
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
  const bases = raw.map((stage, i) => baseOf(source, file, raw, i, stage, globalArgs, options));
  const origins = raw.map((stage, i) => originsOf(source, raw, i, stage));
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

/** Expands a word; an error gets the word's place. */
export function expandAt(
  source: SourceText,
  word: { readonly text: string; readonly span: Span },
  escape: "\\" | "`",
  lookup: (name: string) => string | undefined,
): string {
  try {
    return expandWord(word.text, lookup, { escape });
  } catch (error) {
    throw withPlace(error, source, word.span);
  }
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

function baseOf(
  source: SourceText,
  file: Containerfile,
  raw: readonly RawStage[],
  index: number,
  stage: RawStage,
  globalArgs: ReadonlyMap<string, string>,
  options: PlanOptions,
): Origin {
  const { image, flags } = stage.from;
  const lookup = (name: string): string | undefined => globalArgs.get(name);
  for (const flag of flags) {
    if (flag.name !== "platform" || flag.value === undefined) continue;
    const wanted = expandAt(source, { text: flag.value, span: flag.span }, file.escape, lookup);
    const own = options.platform;
    if (wanted !== formatPlatform(own) && wanted !== `${own.os}/${own.architecture}`) {
      throw new CooperError(
        "unsupported",
        `FROM --platform=${wanted}: only ${formatPlatform(own)} can be built here yet`,
        {
          source,
          span: flag.span,
        },
      );
    }
  }
  const name = expandAt(source, image, file.escape, lookup);
  if (name === "") {
    throw new CooperError(
      "syntax",
      `FROM ${image.text}: the image name is empty once its variables are filled in`,
      {
        source,
        span: image.span,
        hint: "FROM sees only ARGs that stand before the first FROM, and --build-arg",
      },
    );
  }
  if (name === "scratch") return { kind: "scratch" };
  const earlier = raw.slice(0, index).findLastIndex((s) => s.name === name.toLowerCase());
  return earlier >= 0 ? { kind: "stage", stage: earlier } : { kind: "image", name, span: image.span };
}

function originsOf(
  source: SourceText,
  raw: readonly RawStage[],
  index: number,
  stage: RawStage,
): Map<Instruction, Origin> {
  const found = new Map<Instruction, Origin>();
  for (const instruction of stage.instructions) {
    const flag = instruction.kind === "COPY" ? instruction.flags.find((f) => f.name === "from") : undefined;
    if (flag?.value === undefined) continue;
    found.set(instruction, originOf(source, raw, index, { text: flag.value, span: flag.span }));
  }
  return found;
}

function originOf(
  source: SourceText,
  raw: readonly RawStage[],
  index: number,
  from: { text: string; span: Span },
): Origin {
  if (from.text.includes("$")) {
    throw new CooperError("unsupported", `COPY --from=${from.text}: variables are not supported here`, {
      source,
      span: from.span,
      hint: "give the image a name with `FROM … AS name` and copy from that",
    });
  }
  const earlier = raw.slice(0, index).findLastIndex((s) => s.name === from.text.toLowerCase());
  if (earlier >= 0) return { kind: "stage", stage: earlier };
  if (/^\d+$/.test(from.text)) {
    const number = Number(from.text);
    if (number < index) return { kind: "stage", stage: number };
    throw new CooperError(
      "not-found",
      `COPY --from=${from.text}: there is no stage ${from.text} before this one`,
      {
        source,
        span: from.span,
      },
    );
  }
  if (raw.slice(index).some((s) => s.name === from.text.toLowerCase())) {
    throw new CooperError(
      "not-found",
      `COPY --from=${from.text}: a stage can only copy from stages before it`,
      {
        source,
        span: from.span,
      },
    );
  }
  return { kind: "image", name: from.text, span: from.span };
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
