import type { StepPosition } from "../../events.js";
import { isFrom, stagePrefix } from "./lines.js";
import type { LineWriter } from "./line-writer.js";
import { prefixLines } from "./line-writer.js";

/**
 * Output and result lines of steps. While one step runs, its output passes through untouched; while steps of several
 * stages run side by side, only whole lines are written and each says which stage it belongs to (`[1/2] `).
 */
export interface StepOutput {
  start(step: StepPosition): void;
  output(step: StepPosition, chunk: Uint8Array): void;
  /** A line of ours about a step. */
  line(step: StepPosition, text: string): void;
  end(step: StepPosition): void;
  /** Writes what still waits for the end of its line. */
  finish(): void;
  readonly running: number;
  /** The step that started last. */
  readonly last: StepPosition | undefined;
}

const NONE = new Uint8Array(0);

export function stepOutput(out: LineWriter): StepOutput {
  /** By stage: the begin of a line whose end has not come yet. */
  const partials = new Map<number, Uint8Array>();
  const prefixes = new Map<number, string>();
  let last: StepPosition | undefined;
  const alone = (): boolean => partials.size <= 1;

  const flush = (stage: number): void => {
    const partial = partials.get(stage) ?? NONE;
    if (partial.length === 0) return;
    partials.set(stage, NONE);
    out.rawLines(prefixLines(alone() ? "" : (prefixes.get(stage) ?? ""), partial, Buffer.from("\n")).lines);
  };

  return {
    start: (step) => {
      last = step;
      if (isFrom(step)) return;
      partials.set(step.stage, NONE);
      prefixes.set(step.stage, stagePrefix(step));
    },
    output: (step, chunk) => {
      const partial = partials.get(step.stage) ?? NONE;
      if (alone()) {
        out.raw(partial);
        out.raw(chunk);
        if (partials.has(step.stage)) partials.set(step.stage, NONE);
        return;
      }
      const cut = prefixLines(stagePrefix(step), partial, chunk);
      partials.set(step.stage, cut.partial);
      out.rawLines(cut.lines);
    },
    line: (step, text) => {
      flush(step.stage);
      out.line(alone() ? text : `${stagePrefix(step)}${text}`);
    },
    end: (step) => {
      flush(step.stage);
      partials.delete(step.stage);
      prefixes.delete(step.stage);
    },
    finish: () => {
      for (const stage of partials.keys()) flush(stage);
    },
    get running() {
      return partials.size;
    },
    get last() {
      return last;
    },
  };
}
