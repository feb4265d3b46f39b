import type { CooperEvent, EventListener } from "../../events.js";
import type { StepEnd, Transfer } from "./lines.js";
import { cacheLine, commitLine, eventLine, isFrom, resultLine, transferLine } from "./lines.js";
import type { Write } from "./line-writer.js";
import { lineWriter } from "./line-writer.js";
import { stepOutput } from "./step-output.js";

/** Turns events into text as they come. */
export interface Progress {
  readonly onEvent: EventListener;
  /** Writes what was held back; to be called once, whatever became of the work. */
  finish(): void;
}

export interface PlainProgress extends Progress {
  /** False while the last line written has no end yet. */
  readonly atLineStart: boolean;
}

/** podman's lines, one after the other. `durations` appends the time each step took. */
export function plainProgress(write: Write, options: { readonly durations: boolean }): PlainProgress {
  const out = lineWriter(write);
  const steps = stepOutput(out);
  const transfers = transferLines((line) => out.line(line));
  const commits = heldLine((line) => out.line(line));

  const onStepEnd = (event: StepEnd): void => {
    const { step } = event;
    if (event.outcome === "cached" && !isFrom(step)) steps.line(step, cacheLine(event));
    commits.release();
    steps.line(step, resultLine(event, options));
    steps.end(step);
  };

  const onEvent = (event: CooperEvent): void => {
    if (event.type === "transfer") return transfers.copied(event);
    transfers.release();
    switch (event.type) {
      case "output":
        return steps.output(event.step, event.chunk);
      case "step-start":
        steps.start(event.step);
        return out.line(eventLine(event) ?? "");
      case "cache-miss":
        return steps.line(event.step, eventLine(event) ?? "");
      case "step-failed":
        return event.next === "shell" ? steps.line(event.step, eventLine(event) ?? "") : undefined;
      case "kept":
        return undefined;
      case "step-end":
        return onStepEnd(event);
      case "commit":
        commits.hold(commitLine(event, steps.last));
        // As podman does, the line stands between `--> Using cache` and `-->` of the step it commits.
        return steps.running > 0 ? undefined : commits.release();
      case "pull-start":
      case "push-start":
        transfers.begin(event.type === "pull-start" ? "pull" : "push");
        break;
      case "tagged":
      case "notice":
      case "warning":
        break;
    }
    const line = eventLine(event);
    if (line !== undefined) out.line(line);
  };
  const finish = (): void => {
    steps.finish();
    transfers.release();
    commits.release();
  };
  return {
    onEvent,
    finish,
    get atLineStart() {
      return out.atLineStart;
    },
  };
}

interface HeldLine {
  hold(text: string): void;
  release(): void;
}

function heldLine(print: (line: string) => void): HeldLine {
  let held: string | undefined;
  return {
    hold: (text) => {
      held = text;
    },
    release: () => {
      if (held !== undefined) print(held);
      held = undefined;
    },
  };
}

interface TransferLines {
  begin(direction: "pull" | "push"): void;
  copied(event: Transfer): void;
  release(): void;
}

/** Each blob once. A pull reads the manifest first, but the line about writing it comes last. */
function transferLines(print: (line: string) => void): TransferLines {
  const manifest = heldLine(print);
  let seen = new Set<string>();
  let direction: "pull" | "push" = "pull";
  return {
    begin: (which) => {
      direction = which;
      seen = new Set();
    },
    copied: (event) => {
      const line = transferLine(event);
      if (line === undefined || seen.has(event.digest)) return;
      seen.add(event.digest);
      if (event.kind === "manifest" && direction === "pull") manifest.hold(line);
      else print(line);
    },
    release: () => manifest.release(),
  };
}
