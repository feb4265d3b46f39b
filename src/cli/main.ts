/**
 * cli/ is the face of the public API: it parses arguments, prints, and exits; nothing else in the project does.
 *
 * - Starting costs next to nothing: this file imports only what parses arguments; a command's code, the renderers and
 *   the engine are loaded when they are needed. Output goes through plain write calls, not through Node's streams.
 * - stdout is for what scripts read (ids, tables, JSON, a container's output); everything else goes to stderr.
 * - Text that comes from outside is escaped before it reaches a terminal; only the output of RUN and `run` is raw.
 * - Rendering is pure: events and data in, text out (progress/, tables.ts, help.ts, failure.ts). Commands only wire.
 *
 * It refuses flags it does not know or support, and never ignores one.
 */
import { CooperError } from "../errors.js";
import { isDebug, main } from "./app.js";
import { FAILURE, renderFailure } from "./failure.js";
import { processWorld } from "./process-world.js";

declare const COOPER_VERSION: string | undefined;

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
/** A RUN that ignores SIGTERM is killed after 10 s; whoever has not cleaned up some time later never will. */
const CLEANUP_MS = 15_000;

/** Aborts on the first signal and exits at once on the second, if that is somebody's impatience. */
function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const [name, number] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      const exitCode = 128 + number;
      // The kernel and the shell both tell of a terminal that has gone.
      if (controller.signal.aborted && name === "SIGHUP") return;
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(new CooperError("aborted", `interrupted by ${name}`, { exitCode }));
      setTimeout(() => process.exit(exitCode), CLEANUP_MS).unref();
    });
  }
  return controller.signal;
}

/** Runs the command line of this process and exits. */
export async function start(): Promise<void> {
  const version = typeof COOPER_VERSION === "string" ? COOPER_VERSION : "0.0.0-source";
  const world = processWorld(version, interruptSignal());
  process.on("uncaughtException", (error) => {
    world.stderr.write(renderFailure(error, { debug: isDebug(world) }));
    process.exit(FAILURE);
  });
  const exitCode = await main(process.argv.slice(2), world);
  const { failure } = world.stdout;
  if (failure) world.stderr.write(renderFailure(failure, { debug: isDebug(world) }));
  // All output was written with waiting calls, so nothing is lost, and no idle socket can keep the process.
  process.exit(failure && exitCode === 0 ? FAILURE : exitCode);
}
