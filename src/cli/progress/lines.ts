import { unreachable } from "../../errors.js";
import type { CooperEvent, StepPosition } from "../../events.js";
import { duration, hexDigits, oneLine, shortId } from "../text.js";

export type StepEnd = Extract<CooperEvent, { type: "step-end" }>;
export type Transfer = Extract<CooperEvent, { type: "transfer" }>;

/** `[2/3] ` where there are several stages, else nothing. */
export function stagePrefix(step: StepPosition): string {
  return step.stages > 1 ? `[${step.stage}/${step.stages}] ` : "";
}

/** FROM is the first step of its stage. It runs nothing, and ends only where it is the whole stage. */
export function isFrom(step: StepPosition): boolean {
  return step.index === 1;
}

/** True for the event that ends a blob's or manifest's way. */
export function isDone(event: Transfer): boolean {
  return event.skipped === true || event.doneBytes >= event.totalBytes;
}

/** `--> 9685cb4657c4`, with the time it took where that is wanted. */
export function resultLine(event: StepEnd, options: { readonly durations: boolean }): string {
  const time = options.durations ? ` (${duration(event.durationMs)})` : "";
  return `--> ${shortId(event.imageId)}${time}`;
}

/** `--> Using cache <64 hex>`. */
export function cacheLine(event: StepEnd): string {
  return `--> Using cache ${hexDigits(event.imageId)}`;
}

/** `[2/2] COMMIT name`: the stage is that of the build's last step. */
export function commitLine(
  event: Extract<CooperEvent, { type: "commit" }>,
  last: StepPosition | undefined,
): string {
  return `${last ? stagePrefix(last) : ""}COMMIT${event.name === undefined ? "" : ` ${oneLine(event.name)}`}`;
}

/** One finished transfer; undefined while it is under way. */
export function transferLine(event: Transfer): string | undefined {
  if (!isDone(event)) return undefined;
  if (event.kind === "manifest") return "Writing manifest to image destination";
  if (event.kind === "config") return `Copying config ${shortId(event.digest).slice(0, 10)} done`;
  return `Copying blob ${shortId(event.digest)} ${event.skipped ? "skipped: already exists" : "done"}`;
}

/** The line of an event that is one line whatever happened before it; undefined for those that need the history. */
export function eventLine(event: CooperEvent): string | undefined {
  switch (event.type) {
    case "step-start":
      return `${stagePrefix(event.step)}STEP ${event.step.index}/${event.step.steps}: ${oneLine(event.text)}`;
    case "cache-miss":
      return `--> Cache miss: ${oneLine(event.reason)}`;
    case "step-failed":
      return event.next === "shell"
        ? `--> Failed: ${oneLine(event.reason)}; here is a shell in what the step left, "exit" ends it`
        : undefined;
    case "tagged":
      return `Successfully tagged ${oneLine(event.name)}`;
    case "pull-start":
      return `Trying to pull ${oneLine(event.reference)}...`;
    case "notice":
      return oneLine(event.message);
    case "warning":
      return `Warning: ${event.where === undefined ? "" : `${oneLine(event.where)}: `}${oneLine(event.message)}`;
    case "push-start":
    case "transfer":
    case "kept":
    case "commit":
    case "step-end":
    case "output":
      return undefined;
    default:
      return unreachable(event);
  }
}
