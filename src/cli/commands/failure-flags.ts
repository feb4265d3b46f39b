import type { BuildOptions } from "../../cooper.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import { parseMilliseconds } from "../duration.js";
import type { World } from "../world.js";

const ON_FAILURE = ["stop", "shell", "keep"] as const satisfies readonly BuildOptions["onFailure"][];

/** How long a RUN may take, and what becomes of one that fails. */
export const failureFlags = {
  "run-timeout": {
    kind: "string",
    value: "DURATION",
    help: "fail when a RUN takes longer, such as 10s or 1h30m (default and 0: never)",
  },
  "on-failure": {
    kind: "string",
    value: "WAY",
    choices: ON_FAILURE,
    help: "when a RUN fails: stop (default), shell in what it left, or keep that as an image",
  },
} as const satisfies FlagTable;

/** What they mean for a build. Throws `usage`, also for a shell that would have no terminal. */
export function failureOptions(
  given: Flags<typeof failureFlags>,
  world: World,
): Pick<BuildOptions, "runTimeoutMs" | "onFailure"> {
  const { "run-timeout": timeout } = given;
  const onFailure = ON_FAILURE.find((way) => way === given["on-failure"]);
  const { stdin, stdout, stderr } = world;
  if (onFailure === "shell" && !(stdin.isTerminal && stdout.isTerminal && stderr.isTerminal)) {
    throw usage(
      "--on-failure=shell needs a terminal as stdin, stdout and stderr; without one, use --on-failure=keep",
    );
  }
  return {
    ...(timeout === undefined ? {} : { runTimeoutMs: parseMilliseconds("--run-timeout", timeout) }),
    ...(onFailure === undefined ? {} : { onFailure }),
  };
}
