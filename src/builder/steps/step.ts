import type { InputFile, KeyComponent } from "../../cache/index.js";
import type { StepPosition } from "../../events.js";
import type { DiffId } from "../../image/index.js";
import type { SourceText, Span } from "../../source.js";
import type { BuildEngine } from "../engine.js";

/** What a step knows of its surroundings beside the state it starts from. */
export interface StepSite {
  readonly source: SourceText;
  readonly span: Span;
  /** The instruction on one line, as STEP prints it. */
  readonly text: string;
  readonly position: StepPosition;
  readonly buildArgs: ReadonlyMap<string, string>;
}

/** A step whose inputs are known and whose work is not done yet. */
export interface PreparedStep {
  /** Beside the instruction, the parent layers and the platform, which every key holds. */
  readonly components: readonly KeyComponent[];
  readonly files?: readonly InputFile[];
  /** True when the layer is the same whatever is below it: the key then holds no parent. */
  readonly isIndependent?: boolean;
  /** For the image's history. */
  readonly createdBy: string;
  /** Does the work; undefined DiffId: the step made no layer. */
  readonly execute: (engine: BuildEngine) => Promise<{ readonly diffId?: DiffId }>;
}
