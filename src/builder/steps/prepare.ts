import { chainIdOf } from "../../image/index.js";
import type { ArgInstruction, Instruction } from "../../parser/index.js";
import type { CopySource } from "../copy/select.js";
import type { BuildEngine } from "../engine.js";
import type { BuildPlan } from "../plan.js";
import { expandAt } from "../expand.js";
import type { StageOptions } from "../stage.js";
import type { StageState, StepOutcome } from "../state.js";
import { lookupIn } from "../state.js";
import type { CopyOrigin } from "./copy.js";
import { prepareCopy } from "./copy.js";
import type { Expansion } from "./metadata.js";
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

/** Finds out everything that a step's key needs. `declared`: what an ARG declares. */
export async function prepareStep(
  step: Step,
  state: StageState,
  declared: ReadonlyMap<string, string>,
  options: StageOptions,
): Promise<PreparedStep> {
  const { instruction, site, at } = step;
  switch (instruction.kind) {
    case "RUN":
      return prepareRun(instruction, state, site);
    case "COPY":
    case "ADD":
      return prepareCopy(instruction, state, site, at, await originOf(instruction, options), options.engine);
    case "WORKDIR":
      return prepareWorkdir(applyMetadata(instruction, state, at).config?.WorkingDir ?? "/", state, site);
    case "ARG":
      return argStep(declared, site.text);
    default:
      return metadataStep(site.text);
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
  const { stage, engine, plan } = options;
  const origin = stage.origins.get(instruction);
  if (origin === undefined || origin.kind === "scratch") return contextOrigin(engine);
  const name =
    origin.kind === "stage"
      ? `stage "${plan.stages[origin.stage]?.name ?? origin.stage}"`
      : `image ${origin.name}`;
  const { config } =
    origin.kind === "stage"
      ? (await options.resultOf(origin.stage)).state
      : await engine.baseImage(origin.name);
  const layers = config.rootfs.diff_ids;
  const open = async (): Promise<CopySource & Disposable> => {
    const tree = await (await engine.snapshotter()).view(layers);
    return { tree, name, keepOwner: true, [Symbol.dispose]: () => tree[Symbol.dispose]() };
  };
  return { open, chain: chainIdOf(layers) ?? "scratch" };
}

function contextOrigin(engine: BuildEngine): CopyOrigin {
  const open = (): Promise<CopySource> => {
    const tree = engine.context();
    return Promise.resolve({
      tree,
      name: "the build context",
      keepOwner: false,
      isIgnored: (path: string) => tree.isIgnored(path),
    });
  };
  return { open };
}

/** An ARG's value shows in the history, as docker's does; the record keeps only its digest. */
function argStep(declared: ReadonlyMap<string, string>, text: string): PreparedStep {
  const shown = [...declared].map(([name, value]) => `${name}=${value}`);
  return {
    components: [...declared].map(([name, value]) => ({
      name: `arg ${name}`,
      value,
      opaque: true,
      label: `ARG ${name}`,
    })),
    createdBy: shown.length === 0 ? text : `ARG ${shown.join(" ")}`,
    execute: () => Promise.resolve({}),
  };
}

function metadataStep(text: string): PreparedStep {
  return {
    components: [{ name: "text", value: text, label: "the instruction" }],
    createdBy: text,
    execute: () => Promise.resolve({}),
  };
}

/** Values of the ARGs that an instruction declares: `--build-arg`, else the default, else the global ARG of that name. */
export function declareArgs(
  instruction: ArgInstruction,
  state: StageState,
  at: Expansion,
  plan: BuildPlan,
): ReadonlyMap<string, string> {
  const declared = new Map<string, string>();
  for (const arg of instruction.args) {
    const fallback = arg.default
      ? expandAt(at.source, arg.default, at.escape, lookupIn(state))
      : plan.globalArgs.get(arg.name);
    const value = plan.buildArgs.get(arg.name) ?? fallback;
    if (value !== undefined) declared.set(arg.name, value);
  }
  return declared;
}
