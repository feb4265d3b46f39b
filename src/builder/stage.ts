import { withoutUrlSecrets } from "../errors.js";
import type { StepPosition } from "../events.js";
import type { StoredImage } from "../store/index.js";
import type { BuildEngine } from "./engine.js";
import type { BuildPlan, StagePlan } from "./plan.js";
import { StageRun } from "./stage-run.js";
import type { StageState } from "./state.js";
import { scratchConfig } from "./state.js";

/** What a finished stage hands to those that need it. */
export interface StageResult {
  readonly state: StageState;
  /** Missing for `FROM scratch` without any instruction. */
  readonly image: StoredImage | undefined;
  readonly cached: number;
  readonly built: number;
}

export interface StageOptions {
  readonly plan: BuildPlan;
  readonly stage: StagePlan;
  readonly engine: BuildEngine;
  /** Finished state of another stage, when it is ready. */
  readonly resultOf: (stage: number) => Promise<StageResult>;
  /** False: every step is built. */
  readonly useCache: boolean;
  /** Names that the image will get. */
  readonly commitNames: readonly string[];
}

/** Runs one stage from its FROM to its last instruction. */
export async function runStage(options: StageOptions): Promise<StageResult> {
  const { stage, plan, engine } = options;
  const base = await baseState(options);
  const total = 1 + stage.instructions.length;
  const position = (index: number): StepPosition => ({
    stage: stage.index + 1,
    stages: plan.stages.length,
    index,
    steps: total,
  });
  engine.emit({ type: "step-start", step: position(1), text: stage.from.text, span: stage.from.span });
  const run = new StageRun(options, base);
  const { instructions } = stage;
  for (const [i, { instruction, at }] of instructions.entries()) {
    engine.signal.throwIfAborted();
    const { span } = instruction;
    const text = instruction.kind === "ADD" ? withoutUrlSecrets(instruction.text) : instruction.text;
    const site = { source: at.source, span, text, position: position(i + 2), buildArgs: plan.buildArgs };
    const rest = instructions.slice(i + 1).map((later) => later.instruction);
    await run.step({ instruction, site, at }, rest);
  }
  return run.result(position(1), instructions.length === 0);
}

async function baseState(
  options: StageOptions,
): Promise<{ state: StageState; image: StoredImage | undefined }> {
  const { stage, plan, engine } = options;
  if (stage.base.kind === "stage") {
    const { state, image } = await options.resultOf(stage.base.stage);
    return { state: { ...state, cmdSet: false }, image };
  }
  const args = new Map<string, string | undefined>();
  if (stage.base.kind !== "image") {
    return { state: { config: scratchConfig(plan.platform), args, cmdSet: false }, image: undefined };
  }
  const image = await engine.baseImage(stage.base.name, stage.base.platform);
  return { state: { config: image.config, args, cmdSet: false }, image };
}
