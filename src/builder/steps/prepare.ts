import type { BuildContext } from "../../context/index.js";
import type { DiffId } from "../../image/index.js";
import { chainIdOf } from "../../image/index.js";
import type { ArgInstruction, Instruction } from "../../parser/index.js";
import type { CopySource } from "../copy/select.js";
import type { CopyOrigin } from "../copy/sources.js";
import type { Origin } from "../origins.js";
import type { Expansion } from "../expand.js";
import { argValues } from "../args.js";
import type { BuildPlan } from "../plan.js";
import type { StageOptions } from "../stage.js";
import type { StageState, StepOutcome } from "../state.js";
import { lookupIn } from "../state.js";
import { copyHistory } from "./history.js";
import { prepareCopy } from "./copy.js";
import { applyMetadata } from "./metadata.js";
import { prepareRun } from "./run.js";
import type { PreparedStep, StepSite } from "./step.js";
import { prepareWorkdir } from "./workdir.js";

/** One instruction of a stage, with its place. */
export interface Step {
  readonly instruction: Instruction;
  readonly site: StepSite;
  readonly at: Expansion;
}

/** What an instruction means, beside the work it does. */
export interface Meaning {
  /** Of an ARG. */
  readonly declared: ReadonlyMap<string, string | undefined> | undefined;
  readonly outcome: StepOutcome;
}

/** Finds out everything that a step's key needs. */
export async function prepareStep(
  step: Step,
  state: StageState,
  { declared, outcome }: Meaning,
  options: StageOptions,
): Promise<PreparedStep> {
  const { instruction, site, at } = step;
  switch (instruction.kind) {
    case "RUN":
      return prepareRun(instruction, state, site);
    case "COPY":
    case "ADD":
      return {
        ...(await prepareCopy(
          instruction,
          state,
          site,
          at,
          await originOf(instruction, options),
          options.engine,
        )),
        createdBy: copyHistory(instruction, lookupIn(state), at),
      };
    case "WORKDIR":
      return prepareWorkdir(outcome.config?.WorkingDir ?? "/", state);
    case "ARG":
      return argStep(declared ?? new Map<string, undefined>());
    default:
      return metadataStep(site.text, outcome);
  }
}

/** What a step changes in the config; the layer is the caller's to add. */
export function metadataOf({ instruction, at }: Step, state: StageState): StepOutcome {
  switch (instruction.kind) {
    case "RUN":
    case "COPY":
    case "ADD":
    case "ARG":
    case "FROM":
      return {};
    default:
      return applyMetadata(instruction, state, at);
  }
}

async function originOf(instruction: Instruction, options: StageOptions): Promise<CopyOrigin> {
  const { stage, engine } = options;
  const origin = stage.origins.get(instruction);
  if (origin === undefined)
    return contextOrigin("the build context", () => Promise.resolve(engine.context()));
  if (origin.kind === "context") {
    return contextOrigin(`build context "${origin.name}"`, () => engine.namedContext(origin.name));
  }
  const { name, layers } = await layersOf(origin, options);
  const open = async (): Promise<CopySource & Disposable> => {
    const tree = await (await engine.snapshotter()).view(layers);
    return { tree, name, keepOwner: true, [Symbol.dispose]: () => tree[Symbol.dispose]() };
  };
  return { open, chain: chainIdOf(layers) ?? "scratch" };
}

async function layersOf(
  origin: Exclude<Origin, { readonly kind: "context" }>,
  { plan, engine, resultOf }: StageOptions,
): Promise<{ readonly name: string; readonly layers: readonly DiffId[] }> {
  switch (origin.kind) {
    case "scratch":
      return { name: "scratch", layers: [] };
    case "stage": {
      const { state } = await resultOf(origin.stage);
      const { name = origin.stage } = plan.stages[origin.stage] ?? {};
      return { name: `stage "${name}"`, layers: state.config.rootfs.diff_ids };
    }
    case "image": {
      const { config } = await engine.baseImage(origin.name, origin.platform);
      return { name: `image ${origin.name}`, layers: config.rootfs.diff_ids };
    }
  }
}

function contextOrigin(name: string, opened: () => Promise<BuildContext>): CopyOrigin {
  const open = async (): Promise<CopySource> => {
    const tree = await opened();
    return { tree, name, keepOwner: false, isIgnored: (path: string) => tree.isIgnored(path) };
  };
  return { open };
}

/** An ARG's value shows in the history, as docker's does; the record keeps only its digest. */
function argStep(declared: ReadonlyMap<string, string | undefined>): PreparedStep {
  const shown = [...declared].map(([name, value]) => (value === undefined ? name : `${name}=${value}`));
  return {
    components: [...declared].map(([name, value]) => ({
      name: `arg ${name}`,
      value: value ?? "",
      opaque: true,
      label: `ARG ${name}`,
    })),
    createdBy: `ARG ${shown.join(" ")}`,
    execute: () => Promise.resolve({}),
  };
}

function metadataStep(text: string, { createdBy = text }: StepOutcome): PreparedStep {
  return {
    components: [{ name: "text", value: text, label: "the instruction" }],
    createdBy,
    execute: () => Promise.resolve({}),
  };
}

/** What an ARG declares in a stage. A bare `ARG name` of a variable that has a value keeps it. */
export function declareArgs(
  instruction: ArgInstruction,
  state: StageState,
  at: Expansion,
  { globalArgs, buildArgs }: BuildPlan,
): ReadonlyMap<string, string | undefined> {
  return argValues(instruction, lookupIn(state), globalArgs, { ...at, buildArgs });
}
