import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { CooperError } from "../errors.js";
import type { EventListener } from "../events.js";
import { rootlessCommand, userNamespaceRefusal } from "../runtime/index.js";
import type { FromEngine, ToEngine } from "./wire.js";
import { fromWire } from "./wire.js";
import { distFile } from "./workshop.js";

export interface RemoteCall {
  readonly root: string;
  readonly method: string;
  /** Structured-cloneable. */
  readonly args: readonly unknown[];
  readonly signal?: AbortSignal;
  readonly onEvent?: EventListener;
  readonly onOutput?: (stream: "stdout" | "stderr", chunk: Uint8Array) => void;
}

/**
 * Does a call in a child engine that runs inside a user namespace of its own, as root there. The child shares our
 * standard streams and ends with us. Throws what the engine threw.
 */
export async function callEngine(call: RemoteCall): Promise<unknown> {
  // Until the engine runs, stderr is a pipe that tells us why it does not; descriptor 4 is the real one.
  const engine = ["sh", "-c", 'exec "$@" 2>&4 4>&-', "sh", process.execPath, distFile("engine.cjs")];
  const { command, warning } = rootlessCommand(engine);
  if (warning !== undefined) call.onEvent?.({ type: "warning", code: "single-id", message: warning });
  const [program = "", ...argv] = command;
  const child = spawn(program, argv, {
    stdio: ["inherit", "inherit", "pipe", "ipc", 2],
    serialization: "advanced",
  });
  const send = (message: ToEngine): void => {
    if (child.connected) child.send(message);
  };
  const abort = (): void => send({ type: "abort" });
  call.signal?.addEventListener("abort", abort);
  try {
    return await conversation(child, call, send);
  } finally {
    call.signal?.removeEventListener("abort", abort);
    if (child.connected) child.disconnect();
  }
}

function conversation(
  child: ChildProcess,
  call: RemoteCall,
  send: (message: ToEngine) => void,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
    let settle = (): void => reject(startFailure(said));
    const take = (message: FromEngine): void => {
      switch (message.type) {
        case "ready":
          settle = () => reject(new CooperError("sandbox", "the engine process was killed"));
          send({ type: "call", root: call.root, method: call.method, args: call.args });
          if (call.signal?.aborted === true) send({ type: "abort" });
          break;
        case "event":
          call.onEvent?.(message.event);
          break;
        case "output":
          call.onOutput?.(message.stream, message.chunk);
          break;
        case "result":
          settle = () => resolve(message.value);
          break;
        case "error":
          settle = () => reject(fromWire(message.error));
          break;
        case "failure":
          settle = () => reject(Object.assign(new Error(message.message), { stack: message.stack }));
          break;
      }
    };
    let isOver = false;
    child.on("message", (message: FromEngine) => {
      if (isOver) return;
      try {
        take(message);
      } catch (error) {
        // A listener of the caller's failed: that ends the call, as it does where no engine is between them.
        isOver = true;
        settle = () => reject(error);
        send({ type: "abort" });
      }
    });
    child.on("error", (error) =>
      reject(new CooperError("sandbox", `cannot start the engine: ${error.message}`, { cause: error })),
    );
    // Waiting for the end, not the answer: when we return, nothing of the engine is left.
    child.on("close", () => settle());
  });
}

/** Why there is no engine, from what `unshare`, `newuidmap`, `setpriv` or Node said last. */
function startFailure(said: string): CooperError {
  const known = userNamespaceRefusal();
  if (known) return known;
  const line = said.trim().split("\n").at(-1) ?? "";
  return new CooperError(
    "sandbox",
    `cannot make a user namespace: ${line === "" ? "unshare failed" : line}`,
    {
      hint: "inside a container run cooper as root, or allow user namespaces there; `unshare --user --map-root-user true` shows whether they work",
    },
  );
}
