import type { CooperEvent } from "../../events.js";
import { byteSize } from "../text.js";
import type { Write } from "./line-writer.js";
import type { Transfer } from "./lines.js";
import { isDone } from "./lines.js";
import type { Progress } from "./plain.js";
import { plainProgress } from "./plain.js";

const CLEAR_LINE = "\r\u001b[K";
const REDRAW_MS = 100;

export interface TtyOptions {
  readonly durations: boolean;
  /** Width of the terminal. */
  readonly columns: number;
  /** ms, for the rate at which the live line is drawn. */
  readonly now: () => number;
}

/** The plain lines, and below them one live line while blobs are on their way. */
export function ttyProgress(write: Write, options: TtyOptions): Progress {
  const moving = new Map<string, Transfer>();
  let shown = false;
  let drawnAt = Number.NEGATIVE_INFINITY;
  const clear = (): void => {
    if (shown) write(CLEAR_LINE);
    shown = false;
  };
  const plain = plainProgress((chunk) => {
    clear();
    write(chunk);
  }, options);

  const onTransfer = (event: Transfer): void => {
    if (isDone(event)) moving.delete(event.digest);
    else moving.set(event.digest, event);
    if (moving.size === 0) return clear();
    if (!plain.atLineStart || options.now() - drawnAt < REDRAW_MS) return;
    drawnAt = options.now();
    shown = true;
    // The last column stays free: writing into it moves some terminals to the next line.
    write(`${CLEAR_LINE}${transferStatus([...moving.values()]).slice(0, Math.max(0, options.columns - 1))}`);
  };
  const onEvent = (event: CooperEvent): void => {
    plain.onEvent(event);
    if (event.type === "transfer") onTransfer(event);
  };
  const finish = (): void => {
    clear();
    plain.finish();
  };
  return { onEvent, finish };
}

/** `Copying 2 blobs: 12.3 MB / 45 MB`. */
export function transferStatus(moving: readonly Transfer[]): string {
  const sum = (of: (event: Transfer) => number): number =>
    moving.reduce((total, event) => total + of(event), 0);
  const blobs = moving.length === 1 ? "1 blob" : `${moving.length} blobs`;
  return `Copying ${blobs}: ${byteSize(sum((e) => e.doneBytes))} / ${byteSize(sum((e) => e.totalBytes))}`;
}
