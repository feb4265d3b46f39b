import { CooperError, withPlace } from "../errors.js";
import type { ImageConfig, ImageFormat, Platform } from "../image/index.js";
import { formatPlatform, mediaTypes, platformMatches } from "../image/index.js";
import type { StoredImage } from "../store/index.js";
import type { BuildEngine } from "./engine.js";
import type { BuildPlan, StagePlan } from "./plan.js";
import type { StageResult } from "./stage.js";
import { refuseLabels, refuseUngiven, refuseUnservedRuns } from "./preflight.js";
import { runStage } from "./stage.js";
import { serializeConfig } from "./state.js";
import { parseTriggers } from "./triggers.js";

export interface BuildRun {
  readonly plan: BuildPlan;
  readonly engine: BuildEngine;
  readonly useCache: boolean;
  /** Names that the image will get; the first is shown in the COMMIT line. */
  readonly names: readonly string[];
  /** Media types of the image; default: OCI's, and a base that no instruction changes stays as it is. */
  readonly format?: ImageFormat;
  /** What the image says that it is for; default: what its base, or FROM, says. */
  readonly platform?: Platform;
}

export interface BuiltImage {
  readonly image: StoredImage;
  readonly steps: { readonly cached: number; readonly built: number };
}

/**
 * Carries out a plan: bases first, then every stage as soon as what it needs is there. The image is in the store when
 * this returns; names are the caller's. When a stage fails, the others are stopped and waited for.
 */
export async function runPlan(run: BuildRun): Promise<BuiltImage> {
  const { engine } = run;
  const plan = await completePlan(run.plan, engine);
  for (const name of plan.unusedBuildArgs) {
    engine.emit({
      type: "warning",
      code: "unused-build-arg",
      message: `build arg ${name} is not declared by any ARG of ${plan.source.name}`,
    });
  }
  await refuseForeignRuns(plan, engine);
  refuseLabels(plan);
  await refuseUnservedRuns(plan, engine);
  if (!run.useCache) refuseUngiven(plan, engine);
  const stop = new AbortController();
  const signal = AbortSignal.any([engine.signal, stop.signal]);
  const results: Promise<StageResult>[] = [];
  const resultOf = (stage: number): Promise<StageResult> =>
    results[stage] ?? Promise.reject(new Error(`stage ${stage} has not begun`));
  const running = new Map<StagePlan, Promise<unknown>>();
  const own = (stage: StagePlan): Pick<BuildEngine, "limit" | "failing"> => ({
    limit: (work) =>
      engine.limit(() => {
        const step = work();
        running.set(stage, step);
        return step;
      }),
    failing: async (error) => {
      if (signal.aborted) return undefined;
      stop.abort(error);
      running.delete(stage);
      await Promise.allSettled(running.values());
      return engine.signal;
    },
  });
  for (const stage of plan.stages) {
    const result = runStage({
      plan,
      stage,
      engine: { ...engine, signal, ...own(stage) },
      resultOf,
      useCache: run.useCache,
      commitNames: run.names,
    });
    result.catch((error: unknown) => stop.abort(error));
    results.push(result);
  }
  const finished = await settleAll(results, engine.signal, stop.signal);
  const last = finished.at(-1);
  if (!last) throw new Error("a plan without stages");
  const total = (count: (result: StageResult) => number) =>
    finished.reduce((sum, result) => sum + count(result), 0);
  const steps = { cached: total((r) => r.cached), built: total((r) => r.built) };
  return {
    image: await asResult(last, steps.cached + steps.built === 0, run),
    steps,
  };
}

/** The last stage's image, for the platform and in the format that is wanted, as one that is nobody's intermediate step. */
async function asResult(
  { image, state }: StageResult,
  isBase: boolean,
  { engine, format: wanted, platform }: BuildRun,
): Promise<StoredImage> {
  const format = wanted ?? (isBase && image ? image.format : "oci");
  const isFor = platform === undefined || platformMatches(platform, state.config);
  if (isFor && image?.intermediate === false && image.format === format) return image;
  const config =
    isFor && image
      ? await engine.store.blobs.bytes(image.configDescriptor)
      : serializeConfig(isFor ? state.config : { ...withoutVariant(state.config), ...platform });
  const configMediaType = format === "oci" ? mediaTypes.ociConfig : mediaTypes.dockerConfig;
  return { ...engine.store.addImage({ config, configMediaType, intermediate: false }), format };
}

function withoutVariant({ variant: _other, ...config }: ImageConfig): ImageConfig {
  return config;
}

/** The plan with the triggers of its bases, every image that it names being there. Triggers may name further stages and images. */
async function completePlan(first: BuildPlan, engine: BuildEngine): Promise<BuildPlan> {
  const triggers = new Map<number, Awaited<ReturnType<typeof parseTriggers>>>();
  for (let plan = first; ;) {
    await findBases(plan, engine);
    const unseen = plan.stages.filter(({ number }) => !triggers.has(number));
    for (const stage of unseen) triggers.set(stage.number, await triggersOf(stage, engine));
    if (unseen.every(({ number }) => triggers.get(number)?.length === 0)) return plan;
    plan = plan.withTriggers(triggers);
  }
}

async function triggersOf({ base, from }: StagePlan, engine: BuildEngine): ReturnType<typeof parseTriggers> {
  if (base.kind !== "image") return [];
  const { config } = await engine.baseImage(base.name, base.platform);
  return parseTriggers(from.image.text, config.config.OnBuild ?? [], engine.cache);
}

/** Throws with the place of the first image that is not to be had. */
async function findBases(plan: BuildPlan, engine: BuildEngine): Promise<void> {
  const settled = await Promise.allSettled(
    plan.images.map(({ name, platform }) => engine.baseImage(name, platform)),
  );
  for (const [i, result] of settled.entries()) {
    const image = plan.images[i];
    if (result.status === "rejected")
      throw image ? withPlace(result.reason, image.source, image.span) : result.reason;
  }
}

/** A RUN of a stage whose programs this machine cannot run is refused before the first step. */
async function refuseForeignRuns(plan: BuildPlan, engine: BuildEngine): Promise<void> {
  const platforms: Platform[] = [];
  for (const { base, platform, instructions } of plan.stages) {
    const own =
      base.kind === "image"
        ? (await engine.baseImage(base.name, base.platform)).config
        : ((base.kind === "stage" ? platforms[base.stage] : undefined) ?? platform);
    platforms.push(own);
    const run = instructions.find(({ instruction }) => instruction.kind === "RUN");
    if (!run || (await engine.canRun(own))) continue;
    const { span } = run.instruction;
    const text = `RUN in a stage for ${formatPlatform(own)}: this machine cannot run its programs`;
    throw new CooperError("unsupported", text, {
      source: run.at.source,
      span,
      hint: "install qemu-user-static (binfmt_misc), or build in a stage FROM --platform=$BUILDPLATFORM",
    });
  }
}

/** Waits for all, then throws the failure that came first (`stop` has it) and not those that it caused. */
async function settleAll(
  results: readonly Promise<StageResult>[],
  signal: AbortSignal,
  stop: AbortSignal,
): Promise<readonly StageResult[]> {
  const settled = await Promise.allSettled(results);
  signal.throwIfAborted();
  stop.throwIfAborted();
  return settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}
