import type { Cooper } from "../cooper.js";
import { CooperError } from "../errors.js";
import { localCooper } from "./local.js";
import type { FromEngine, ToEngine } from "./wire.js";
import { toWire } from "./wire.js";
import { openWorkshop } from "./workshop.js";

const METHODS = ["build", "push", "remove", "save", "run", "doctor"] as const;
type Method = (typeof METHODS)[number];

/**
 * The engine process's side of `callEngine`: takes one call over the IPC channel, answers it, and ends. It ends too
 * when the channel closes, since then nobody waits for it.
 */
export function serveEngine(): void {
  const controller = new AbortController();
  const send = (message: FromEngine): Promise<void> =>
    new Promise((resolve) => {
      if (process.connected) process.send?.(message, undefined, {}, () => resolve());
      else resolve();
    });
  const abort = (): void =>
    controller.abort(new CooperError("aborted", "the build was interrupted", { exitCode: 130 }));
  process.on("disconnect", abort);
  // The terminal sends these to us as well; our caller decides what they mean and tells us.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => undefined);
  process.on("message", (message: ToEngine) => {
    if (message.type === "abort") abort();
    else void answer(message, controller.signal, send);
  });
  void send({ type: "ready" });
}

async function answer(
  call: Extract<ToEngine, { type: "call" }>,
  signal: AbortSignal,
  send: (message: FromEngine) => Promise<void>,
): Promise<void> {
  try {
    await using cooper = localCooper(openWorkshop(call.root, call.rights));
    const value = await perform(cooper, call, signal, send);
    await send({ type: "result", value });
  } catch (error) {
    const wire = toWire(error);
    const { message, stack = "" } = error instanceof Error ? error : new Error(String(error));
    await send(wire ? { type: "error", error: wire } : { type: "failure", message, stack });
  } finally {
    if (process.connected) process.disconnect();
  }
}

function perform(
  cooper: Cooper,
  call: Extract<ToEngine, { type: "call" }>,
  signal: AbortSignal,
  send: (message: FromEngine) => Promise<void>,
): Promise<unknown> {
  const method = METHODS.find((name) => name === call.method);
  if (method === undefined) throw new Error(`no engine method ${call.method}`);
  const args = call.args.map((arg) => attach(arg, method, signal, send));
  return (cooper[method] as (...args: readonly unknown[]) => Promise<unknown>)(...args);
}

/**
 * Gives an argument back the callbacks that stayed with the caller. They return when the message is out: whoever reads a
 * container's output waits for that, so that it never piles up here when the caller is slow.
 */
function attach(
  arg: unknown,
  method: Method,
  signal: AbortSignal,
  send: (message: FromEngine) => Promise<void>,
): unknown {
  if (typeof arg !== "object" || arg === null || Array.isArray(arg)) return arg;
  const { piped, ...options } = arg as Record<string, unknown>;
  return {
    ...options,
    signal,
    ...(method === "build" || method === "push" || method === "run"
      ? { onEvent: (event: never) => send({ type: "event", event }) }
      : {}),
    ...(piped === true
      ? {
          onOutput: (stream: "stdout" | "stderr", chunk: Uint8Array) =>
            send({ type: "output", stream, chunk }),
        }
      : {}),
  };
}
