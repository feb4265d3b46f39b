import type { ArgInstruction, Instruction } from "../../parser/index.js";
import type { Expansion } from "../expand.js";
import { argValues } from "../args.js";
import type { BuildPlan } from "../plan.js";
import type { StageOptions } from "../stage.js";
import type { StageState, StepOutcome } from "../state.js";
import { lookupIn } from "../state.js";
import { copyHistory } from "./history.js";
import { prepareCopy } from "./copy.js";
import { applyMetadata } from "./metadata.js";
import { openOrigin } from "./origin.js";
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
      return prepareRun({ instruction, at, site }, state, options);
    case "COPY":
    case "ADD":
      return {
        ...(await prepareCopy(
          instruction,
          state,
          site,
          at,
          await openOrigin(options.stage.origins.get(instruction), options),
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
