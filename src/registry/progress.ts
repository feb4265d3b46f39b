import type { CooperEvent, EventListener } from "../events.js";
import type { Descriptor } from "../image/index.js";

type Kind = Extract<CooperEvent, { type: "transfer" }>["kind"];

/** Tells a listener how far one blob is. */
export interface Meter {
  /** Bytes done so far; may go back when a transfer starts again. Told at most ten times a second. */
  at(doneBytes: number): void;
  /** All bytes are there. */
  finish(): void;
  /** They were there already. */
  skip(): void;
}

const INTERVAL_MS = 100;

/** A meter for a blob; without a listener it does nothing. */
export function openMeter(
  onEvent: EventListener | undefined,
  kind: Kind,
  { digest, size }: Descriptor,
): Meter {
  const tell = (doneBytes: number, skipped?: true) =>
    onEvent?.({
      type: "transfer",
      kind,
      digest,
      doneBytes,
      totalBytes: size,
      ...(skipped ? { skipped } : {}),
    });
  let last = -Infinity;
  return {
    at: (doneBytes) => {
      const now = performance.now();
      // The last byte is told by `finish`, when the receiver has accepted it.
      if (doneBytes >= size || now - last < INTERVAL_MS) return;
      last = now;
      tell(doneBytes);
    },
    finish: () => tell(size),
    skip: () => tell(size, true),
  };
}
