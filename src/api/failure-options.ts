import type { OnFailure } from "../builder/index.js";
import type { BuildOptions } from "../cooper.js";
import { CooperError } from "../errors.js";

/** What Node's timers can wait, ms: 24 days. */
const LONGEST = 2 ** 31 - 1;

/** How long a RUN may take and what becomes of one that fails, every default filled in. Throws `usage`. */
export function failureOptions({ runTimeoutMs = 0, onFailure = "stop" }: BuildOptions): OnFailure {
  if (!Number.isInteger(runTimeoutMs) || runTimeoutMs < 0 || runTimeoutMs > LONGEST) {
    throw new CooperError(
      "usage",
      `runTimeoutMs: ${runTimeoutMs} is not a whole number of milliseconds from 0 to ${LONGEST} (24 days)`,
    );
  }
  const ways: readonly string[] = ["stop", "shell", "keep"];
  if (!ways.includes(onFailure))
    throw new CooperError("usage", `onFailure: "${onFailure}" is not one of: ${ways.join(", ")}`);
  if (onFailure === "shell" && !isOnTerminal()) {
    throw new CooperError("usage", "a shell in a failed step needs a terminal as stdin, stdout and stderr");
  }
  return { runTimeoutMs, next: onFailure };
}

function isOnTerminal(): boolean {
  const { isatty } = process.getBuiltinModule("node:tty");
  return [0, 1, 2].every((fd) => isatty(fd));
}
