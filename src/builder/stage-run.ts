import { makeKey } from "../cache/index.js";
import type { CacheKey, KeyComponent } from "../cache/index.js";
import { withPlace } from "../errors.js";
import type { StepPosition } from "../events.js";
import type { ImageConfig } from "../image/index.js";
import { chainIdOf, digestOf, formatPlatform } from "../image/index.js";
import type { Instruction } from "../parser/index.js";
import type { StoredImage } from "../store/index.js";
import { refuseUngivenAfter } from "./preflight.js";
import type { StageOptions, StageResult } from "./stage.js";
import type { StageState, StepOutcome } from "./state.js";
import { serializeConfig, withStep } from "./state.js";
import type { Step } from "./steps/prepare.js";
import { declareArgs, metadataOf, prepareStep } from "./steps/prepare.js";
import type { PreparedStep } from "./steps/step.js";

/** Instructions whose layers hold files with times. */
const LAYER_MAKERS: ReadonlySet<string> = new Set(["RUN", "COPY", "ADD", "WORKDIR"]);

/** Those whose layers no later step can do without: a changed LABEL, say, leaves every RUN after it cached. */
const FILE_MAKERS: ReadonlySet<string> = new Set(["RUN", "COPY", "ADD"]);

/** The moving part of a stage: its state, replaced step by step. */
export class StageRun {
  readonly #options: StageOptions;
  #state: StageState;
  #image: StoredImage | undefined;
  /** True until this stage has made a layer on a base image. */
  #onBase: boolean;
  #cached = 0;
  #built = 0;

  constructor(
    options: StageOptions,
    base: { readonly state: StageState; readonly image: StoredImage | undefined },
  ) {
    this.#options = options;
    this.#image = base.image;
    this.#onBase = options.stage.base.kind === "image";
    const { OnBuild: _triggered, ...config } = base.state.config.config;
    this.#state = { ...base.state, config: { ...base.state.config, config } };
  }

  /** Carries out one instruction. `rest`: those after it. Every CooperError names the instruction's place, if no closer one. */
  async step(step: Step, rest: readonly Instruction[]): Promise<void> {
    try {
      await this.#step(step, rest);
    } catch (error) {
      throw withPlace(error, step.site.source, step.site.span);
    }
  }

  async #step(step: Step, rest: readonly Instruction[]): Promise<void> {
    const { engine } = this.#options;
    const started = engine.now();
    engine.emit({ type: "step-start", step: step.site.position, text: step.site.text, span: step.site.span });
    const declared =
      step.instruction.kind === "ARG"
        ? declareArgs(step.instruction, this.#state, step.at, this.#options.plan)
        : undefined;
    const outcome = metadataOf(step, this.#state);
    const prepared = await prepareStep(step, this.#state, { declared, outcome }, this.#options);
    const key = this.#keyOf(step, prepared);
    const found = this.#options.useCache
      ? this.#lookup(key, this.#siteName(step), outcome, prepared)
      : undefined;
    const next = found ?? (await this.#build(step, prepared, outcome, key, rest));
    if (rest.length === 0) this.#announceCommit();
    this.#advance(step, next.image, declared ?? outcome.variables);
    if (found) this.#cached += 1;
    else this.#built += 1;
    engine.emit({
      type: "step-end",
      step: step.site.position,
      outcome: found ? "cached" : "built",
      imageId: next.image.id.slice("sha256:".length),
      durationMs: engine.now() - started,
    });
  }

  /** The stage's result; a stage of nothing but FROM ends here. */
  result(from: StepPosition, onlyFrom: boolean): StageResult {
    const { engine } = this.#options;
    if (onlyFrom && this.#image) {
      this.#announceCommit();
      engine.emit({
        type: "step-end",
        step: from,
        outcome: "cached",
        imageId: this.#image.id.slice("sha256:".length),
        durationMs: 0,
      });
    }
    return { state: this.#state, image: this.#image, cached: this.#cached, built: this.#built };
  }

  #announceCommit(): void {
    const { engine, commitNames, plan, stage } = this.#options;
    if (stage.index !== plan.stages.length - 1) return;
    const [name] = commitNames;
    engine.emit({ type: "commit", ...(name === undefined ? {} : { name }) });
  }

  #keyOf(step: Step, prepared: PreparedStep): CacheKey {
    const { config } = this.#state;
    const parent: KeyComponent = {
      name: this.#onBase ? "base" : "parent",
      value: chainIdOf(config.rootfs.diff_ids) ?? "scratch",
    };
    const surroundings: readonly KeyComponent[] = [
      { name: "instruction", value: step.instruction.kind },
      ...(prepared.isIndependent === true ? [] : [parent]),
      { name: "platform", value: formatPlatform(config) },
    ];
    const times = LAYER_MAKERS.has(step.instruction.kind) ? this.#options.engine.times.components : [];
    return makeKey([...surroundings, ...times, ...prepared.components], prepared.files);
  }

  /** The image that a recorded step makes of the present state, if its record and layer are there. */
  #lookup(
    key: CacheKey,
    site: string,
    outcome: StepOutcome,
    prepared: PreparedStep,
  ): { readonly image: StoredImage } | undefined {
    const { engine } = this.#options;
    const record = engine.cache.lookup(key);
    if (!record) return undefined;
    const known = engine.store.image(record.imageId as StoredImage["id"]);
    const diffId = record.diffId as StepOutcome["diffId"];
    if (!known?.config.created || (diffId !== undefined && engine.store.layers.dir(diffId) === undefined))
      return undefined;
    const built = record.built ?? known.config.created;
    const config = withStep(
      this.#state.config,
      { ...outcome, ...(diffId ? { diffId } : {}) },
      prepared.createdBy,
      engine.times.epoch === undefined ? built : engine.times.created(engine.now()),
    );
    const bytes = serializeConfig(config);
    if (digestOf(bytes) === known.id) return { image: known };
    // The same layer on another history: from now on the record leads to the image that has this one.
    const image = this.#register(bytes);
    engine.cache.record(key, site, { imageId: image.id, ...(diffId ? { diffId } : {}), built });
    return { image };
  }

  async #build(
    step: Step,
    prepared: PreparedStep,
    outcome: StepOutcome,
    key: CacheKey,
    rest: readonly Instruction[],
  ): Promise<{ readonly image: StoredImage }> {
    const { engine, plan, stage, useCache } = this.#options;
    const site = this.#siteName(step);
    const reason = useCache ? engine.cache.explain(key, site) : undefined;
    if (reason !== undefined) engine.emit({ type: "cache-miss", step: step.site.position, reason });
    if (FILE_MAKERS.has(step.instruction.kind)) refuseUngivenAfter(plan, stage, rest, engine);
    engine.requirePrivileges();
    if (rest.some((later) => later.kind === "RUN")) engine.prewarm();
    const { diffId } = await engine.limit(() => {
      // While it waited for its turn, another stage may have failed.
      engine.signal.throwIfAborted();
      return prepared.execute(engine);
    });
    const now = engine.now();
    const config = withStep(
      this.#state.config,
      { ...outcome, ...(diffId ? { diffId } : {}) },
      prepared.createdBy,
      engine.times.created(now),
    );
    const image = this.#register(serializeConfig(config));
    const built = engine.times.epoch === undefined ? {} : { built: new Date(now).toISOString() };
    engine.cache.record(key, site, { imageId: image.id, ...(diffId ? { diffId } : {}), ...built });
    return { image };
  }

  #register(config: Buffer): StoredImage {
    return this.#options.engine.store.addImage({ config, intermediate: true });
  }

  #siteName(step: Step): string {
    const { plan, stage } = this.#options;
    const { index } = step.site.position;
    return digestOf(
      JSON.stringify([plan.source.name, stage.name ?? stage.index, index, step.instruction.kind]),
    );
  }

  #advance(
    step: Step,
    image: StoredImage,
    variables: ReadonlyMap<string, string | undefined> | undefined,
  ): void {
    this.#image = image;
    const config: ImageConfig = image.config;
    if (config.rootfs.diff_ids.length > this.#state.config.rootfs.diff_ids.length) this.#onBase = false;
    const { args: before } = this.#state;
    const news = [...(variables ?? [])].filter(
      ([name]) => step.instruction.kind === "ARG" || before.has(name),
    );
    const args = news.length > 0 ? new Map([...before, ...news]) : before;
    this.#state = { config, args, cmdSet: this.#state.cmdSet || step.instruction.kind === "CMD" };
  }
}
