import { CooperError } from "../errors.js";
import type { Platform } from "../image/index.js";
import type { Containerfile, Flag, FromInstruction, Instruction, RunMount } from "../parser/index.js";
import type { SourceText } from "../source.js";
import { evaluateGlobals, platformArgs, unusedBuildArgs } from "./args.js";
import type { Expansion } from "./expand.js";
import type { KnownVariables, PlannedInstruction } from "./known-variables.js";
import { knownVariables } from "./known-variables.js";
import type { FromWord, NamedContext, Names, Origin, RawStage } from "./origins.js";
import {
  baseOf,
  contextOrigin,
  didYouMean,
  fromFlag,
  fromName,
  numbersByName,
  originOf,
  platformOf,
} from "./origins.js";
import type { Entitlement } from "./run-settings.js";
import { checkChoice, checkRunFlags, mountFroms } from "./run-flags.js";
import { copyOfContext, labelInstruction } from "./synthetic.js";
import { checkCopies } from "./copy/check.js";

/** One FROM with the instructions after it. */
export interface StagePlan {
  /** Position among the reachable stages, from 0. */
  readonly index: number;
  /** Position among the stages of the file, from 0. */
  readonly number: number;
  readonly name?: string;
  readonly from: FromInstruction;
  readonly base: Origin;
  /** What its FROM wants; a base image may be made for another. */
  readonly platform: Platform;
  /** Everything after FROM, behind the triggers of the base. */
  readonly instructions: readonly PlannedInstruction[];
  readonly origins: Origins;
  /** The `--mount`s of its RUNs, by their flags; without those that a variable of the base image decides. */
  readonly mounts: ReadonlyMap<Flag, RunMount>;
}

/** Where each COPY with `--from` reads, by instruction, and each mount with `from`, by its flag. */
export type Origins = ReadonlyMap<Instruction | Flag, Origin>;

/** A Containerfile made ready to run for one target: pure, nothing outside was touched. */
export interface BuildPlan {
  readonly source: SourceText;
  readonly escape: "\\" | "`";
  /** Of the image that comes out. */
  readonly platform: Platform;
  /** Stages that the target needs, in file order; the last one is the target. */
  readonly stages: readonly StagePlan[];
  /** ARGs before the first FROM with their values; what a stage's bare `ARG name` inherits. */
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly buildArgs: ReadonlyMap<string, string>;
  /** Images that must be there before the first step, each once for a platform. */
  readonly images: readonly ImageOrigin[];
  /** Build args that no ARG of the file declares. */
  readonly unusedBuildArgs: readonly string[];
  /** The same plan with the triggers of base images in front of the stages' own instructions. */
  readonly withTriggers: (triggers: Triggers) => BuildPlan;
}

export type ImageOrigin = Extract<Origin, { readonly kind: "image" }>;

/** Triggers by the number of the stage that runs them. */
export type Triggers = ReadonlyMap<number, readonly PlannedInstruction[]>;

export interface PlanOptions {
  readonly target?: string;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly platform: Platform;
  /** `--label`: set by one more LABEL step at the end of the target. */
  readonly labels: Readonly<Record<string, string>>;
  /** `--build-context`, by the names that `contextName` makes. */
  readonly contexts: ReadonlyMap<string, NamedContext>;
  /** What RUN may ask for beyond the usual. */
  readonly allow: ReadonlySet<Entitlement>;
}

/**
 * Resolves stages, bases and `--from`s, leaves out stages that the target does not need, and refuses what this
 * version cannot do. Throws `syntax`, `not-found` or `unsupported` with a place.
 */
export function makePlan(
  source: SourceText,
  file: Containerfile,
  options: PlanOptions,
  triggers: Triggers = new Map(),
): BuildPlan {
  const at = { source, escape: file.escape };
  const { globals, stages } = splitStages(file, at, triggers);
  const target = findTarget(source, stages, options.target);
  const raw = stages.map((stage, i) => (i === target ? withLabels(stage, options.labels, at) : stage));
  const automatic = platformArgs(options.platform, options.target ?? raw[target]?.name ?? "default");
  const { buildArgs, contexts, platform } = options;
  const globalArgs = evaluateGlobals(globals, automatic, { ...at, buildArgs });
  const scene: Scene = { raw, byName: numbersByName(raw), contexts, platform, at, globalArgs, buildArgs };
  const links = linkStages(scene);
  const reachable = reach(target, links);
  const position = new Map(reachable.map((number, index) => [number, index]));
  const linked = reachable.flatMap((number): UncheckedStage[] => {
    const [stage, link] = [raw[number], links[number]];
    return stage && link ? [toStagePlan(stage, link, number, position)] : [];
  });
  for (const { instructions } of raw) {
    for (const { instruction, at: own } of instructions) {
      if (instruction.kind === "RUN") for (const flag of instruction.flags) checkChoice(flag, own.source);
    }
  }
  const planned = linked.map((stage): StagePlan => ({
    ...stage,
    mounts: checkFlags(stage, links, options.allow),
  }));
  const every = [...globals, ...raw.flatMap((stage) => stage.instructions.map((one) => one.instruction))];
  return {
    source,
    escape: file.escape,
    platform,
    stages: planned,
    globalArgs,
    buildArgs,
    images: imagesOf(planned),
    unusedBuildArgs: unusedBuildArgs(every, buildArgs, automatic),
    withTriggers: (found) => makePlan(source, file, options, found),
  };
}

type UncheckedStage = Omit<StagePlan, "mounts">;

interface Scene extends Names {
  readonly at: Expansion;
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly buildArgs: ReadonlyMap<string, string>;
}

function splitStages(
  file: Containerfile,
  at: Expansion,
  triggers: Triggers,
): { readonly globals: readonly Instruction[]; readonly stages: readonly RawStage[] } {
  const globals: Instruction[] = [];
  const stages: (RawStage & { readonly instructions: PlannedInstruction[] })[] = [];
  for (const instruction of file.instructions) {
    if (instruction.kind === "FROM") {
      const name = instruction.alias?.text.toLowerCase();
      const instructions = [...(triggers.get(stages.length) ?? [])];
      stages.push({ from: instruction, ...(name === undefined ? {} : { name }), instructions });
    } else {
      const stage = stages.at(-1);
      if (stage) stage.instructions.push({ instruction, at });
      else globals.push(instruction);
    }
  }
  return { globals, stages };
}

function withLabels(stage: RawStage, labels: PlanOptions["labels"], at: Expansion): RawStage {
  const instruction = labelInstruction(labels, stage.from.span);
  return instruction ? { ...stage, instructions: [...stage.instructions, { instruction, at }] } : stage;
}

function findTarget(source: SourceText, raw: readonly RawStage[], target: string | undefined): number {
  if (target === undefined) return raw.length - 1;
  const byName = raw.findLastIndex((stage) => stage.name === target.toLowerCase());
  if (byName >= 0) return byName;
  const index = /^\d+$/.test(target) ? Number(target) : -1;
  if (index >= 0 && index < raw.length) return index;
  const names = raw.flatMap((stage) => (stage.name === undefined ? [] : [stage.name]));
  const all =
    names.length > 0
      ? `its stages are ${names.slice(0, 20).join(", ")}${names.length > 20 ? ", …" : ""}`
      : `it has ${raw.length} stages without names: use a number`;
  throw new CooperError("not-found", `${source.name} has no stage "${target}"`, {
    hint: didYouMean(target, names) ?? all,
  });
}

/** What a stage is made of. */
interface Link {
  readonly base: Origin;
  readonly platform: Platform;
  readonly instructions: readonly PlannedInstruction[];
  readonly origins: Origins;
  /** What is known before an instruction of the stage. */
  readonly knownBefore: (instruction: Instruction) => KnownVariables;
}

function linkStages(scene: Scene): readonly Link[] {
  const links: Link[] = [];
  for (const [index, { from, name, instructions: own }] of scene.raw.entries()) {
    const { at, globalArgs } = scene;
    const platform = platformOf(from, at, globalArgs, scene.platform);
    // A stage that has the name of a build context is that context: nothing of it is built.
    const replaced =
      name === undefined
        ? undefined
        : contextOrigin(name, scene, platform, { source: at.source, span: from.span });
    const named = replaced ?? baseOf(index, scene, at, globalArgs, platform);
    const origins = new Map<Instruction | Flag, Origin>();
    const handed = named.kind === "stage" ? triggersOf(links[named.stage]) : [];
    const instructions = replaced ? [] : [...handed, ...own];
    if (named.kind === "context") {
      const copy = copyOfContext(named);
      origins.set(copy, named);
      instructions.unshift({ instruction: copy, at });
    }
    const base: Origin = named.kind === "context" ? { kind: "scratch" } : named;
    const knownBefore = (end: Instruction): KnownVariables =>
      knownVariables(knownAtStart(base, scene, links), instructions, scene, end);
    for (const { instruction, at: own } of instructions) {
      if (origins.has(instruction)) continue;
      for (const [reader, word] of fromWords(instruction, own)) {
        const target = word.text.includes("$") ? fromName(word, knownBefore(instruction), own) : word.text;
        origins.set(reader, originOf(word, target, index, scene, own));
      }
    }
    links.push({ base, platform, instructions, origins, knownBefore });
  }
  return links;
}

/** Every `from` of an instruction, with what it belongs to. */
function fromWords(
  instruction: Instruction,
  at: Expansion,
): readonly (readonly [Instruction | Flag, FromWord])[] {
  if (instruction.kind === "RUN") return mountFroms(instruction, at);
  const word = instruction.kind === "COPY" ? fromFlag(instruction.flags) : undefined;
  return word ? [[instruction, word]] : [];
}

/** A stage of the file triggers what its ONBUILDs say in those that are built FROM it, too. */
function triggersOf(link: Link | undefined): readonly PlannedInstruction[] {
  return (link?.instructions ?? []).flatMap(({ instruction, at }) =>
    instruction.kind === "ONBUILD" ? [{ instruction: instruction.instruction, at }] : [],
  );
}

/** What is known at the FROM of a stage, from the stages that it is built on. */
function knownAtStart(base: Origin, scene: Scene, links: readonly Link[]): KnownVariables {
  const below: Link[] = [];
  let at = base;
  for (let link: Link | undefined; at.kind === "stage" && (link = links[at.stage]); at = link.base)
    below.push(link);
  const start: KnownVariables = { values: new Map(), open: at.kind === "image" };
  return below.reduceRight((known, link) => knownVariables(known, link.instructions, scene), start);
}

/** Stages that `target` needs, in file order, the target last. */
function reach(target: number, links: readonly Link[]): readonly number[] {
  const needed = new Set<number>();
  const pending = [target];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    const link = links[at];
    if (needed.has(at) || !link) continue;
    needed.add(at);
    for (const origin of [link.base, ...link.origins.values()]) {
      if (origin.kind === "stage") pending.push(origin.stage);
    }
  }
  return [...needed].toSorted((a, b) => a - b);
}

function toStagePlan(
  { name, from }: RawStage,
  link: Link,
  number: number,
  position: ReadonlyMap<number, number>,
): UncheckedStage {
  const moved = (origin: Origin): Origin =>
    origin.kind === "stage" ? { kind: "stage", stage: position.get(origin.stage) ?? 0 } : origin;
  return {
    index: position.get(number) ?? 0,
    number,
    ...(name === undefined ? {} : { name }),
    from,
    base: moved(link.base),
    platform: link.platform,
    instructions: link.instructions,
    origins: new Map([...link.origins].map(([instruction, origin]) => [instruction, moved(origin)])),
  };
}

function checkFlags(
  stage: UncheckedStage,
  links: readonly Link[],
  allow: ReadonlySet<Entitlement>,
): StagePlan["mounts"] {
  const mounts = new Map<Flag, RunMount>();
  for (const { instruction, at } of stage.instructions) {
    checkCopies(at.source, [instruction]);
    const link = links[stage.number];
    if (instruction.kind !== "RUN" || instruction.flags.length === 0 || !link) continue;
    const own = checkRunFlags(instruction, at, link.knownBefore(instruction), allow);
    for (const [flag, mount] of own) mounts.set(flag, mount);
  }
  return mounts;
}

function imagesOf(stages: readonly StagePlan[]): readonly ImageOrigin[] {
  const found = new Map<string, ImageOrigin>();
  for (const stage of stages) {
    for (const origin of [stage.base, ...stage.origins.values()]) {
      if (origin.kind !== "image") continue;
      const key = JSON.stringify([origin.name, origin.platform]);
      if (!found.has(key)) found.set(key, origin);
    }
  }
  return [...found.values()];
}
