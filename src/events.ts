import type { Digest } from "./image/index.js";
import type { Span } from "./source.js";

/** Identifies a step of a build in its events. `stage` and `index` count from 1; `stages` and `steps` are totals. */
export interface StepPosition {
  readonly stage: number;
  readonly stages: number;
  readonly index: number;
  readonly steps: number;
}

/** All that happens in a build, pull or push, in order. Renderers, the JSON stream and the tests read only these. */
export type CooperEvent =
  | { readonly type: "step-start"; readonly step: StepPosition; readonly text: string; readonly span?: Span }
  | {
      readonly type: "output";
      readonly step: StepPosition;
      readonly stream: "stdout" | "stderr";
      readonly chunk: Uint8Array;
    }
  /** Printed before a cached or built step's id: why the cache did not have it. One line. */
  | { readonly type: "cache-miss"; readonly step: StepPosition; readonly reason: string }
  | { readonly type: "commit"; readonly name?: string }
  | {
      readonly type: "step-end";
      readonly step: StepPosition;
      readonly outcome: "cached" | "built";
      /** 64 hex digits of the step's image. */
      readonly imageId: string;
      readonly durationMs: number;
    }
  /** A RUN has failed. `next`: what is done with what it left. `exitCode`: that of the build. */
  | {
      readonly type: "step-failed";
      readonly step: StepPosition;
      /** `exit status 3`, `killed by SIGSEGV`, `timeout`. */
      readonly reason: string;
      readonly exitCode: number;
      readonly next: "stop" | "shell" | "keep";
    }
  /** What a failed step left is an image now: 64 hex digits. */
  | { readonly type: "kept"; readonly step: StepPosition; readonly imageId: string }
  | { readonly type: "tagged"; readonly name: string }
  | { readonly type: "pull-start"; readonly reference: string }
  | { readonly type: "push-start"; readonly reference: string }
  /** A blob's or manifest's progress; `done` when `doneBytes` equals `totalBytes`. `skipped`: it was there already. */
  | {
      readonly type: "transfer";
      readonly kind: "layer" | "config" | "manifest";
      readonly digest: Digest;
      readonly doneBytes: number;
      readonly totalBytes: number;
      readonly skipped?: boolean;
    }
  | { readonly type: "notice"; readonly message: string }
  | { readonly type: "warning"; readonly code: string; readonly message: string; readonly where?: string };

export type EventListener = (event: CooperEvent) => void;
