import type { World } from "../world.js";
import { jsonProgress } from "./json.js";
import type { Progress } from "./plain.js";
import { plainProgress } from "./plain.js";
import { ttyProgress } from "./tty.js";

export const PROGRESS_MODES = ["auto", "plain", "tty", "json"] as const;
export type ProgressMode = (typeof PROGRESS_MODES)[number] | "quiet";

const DEFAULT_COLUMNS = 80;

/** The renderer for a mode, writing to stderr. */
export function openProgress(mode: ProgressMode, world: World): Progress {
  const write = (chunk: string | Uint8Array): void => world.stderr.write(chunk);
  const durations = mode === "plain";
  if (mode === "quiet") return { onEvent: () => {}, finish: () => {} };
  if (mode === "json") return jsonProgress(write);
  if (mode === "tty" || (mode === "auto" && world.stderr.isTerminal)) {
    const columns = world.stderr.columns ?? DEFAULT_COLUMNS;
    return ttyProgress(write, { durations, columns, now: world.now });
  }
  return plainProgress(write, { durations });
}
