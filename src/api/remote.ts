import type { ChildProcess } from "node:child_process";
import { CooperError, hasCode } from "../errors.js";
import type { EventListener } from "../events.js";
import { mayChroot, namespaceRefusal, planRootless, startRootless } from "../runtime/index.js";
import type { IdMap, Rights } from "../runtime/index.js";
import type { FromEngine, ToEngine } from "./wire.js";
import { fromWire } from "./wire.js";
import { distFile } from "./workshop.js";
import type { Workshop } from "./workshop.js";

export interface RemoteCall {
  readonly method: string;
  /** Structured-cloneable. */
  readonly args: readonly unknown[];
  readonly signal?: AbortSignal;
  readonly onEvent?: EventListener;
  readonly onOutput?: (stream: "stdout" | "stderr", chunk: Uint8Array) => void;
}

/** The engine did not come to its first word. */
class StartFailure extends Error {}

/**
 * Does a call in a child engine that runs inside a user namespace of its own, as root there. The child shares our
 * standard streams and ends with us. Throws what the engine threw.
 */
export async function callEngine(workshop: Workshop, call: RemoteCall): Promise<unknown> {
  const rights = await workshop.rights();
  const verdicts = await workshop.verdicts();
  for (;;) {
    const { idMap, warning, isRemembered } = await planRootless(verdicts).catch(withRungs);
    try {
      return await callMapped(idMap, warning, { ...call, root: workshop.root, rights });
    } catch (error) {
      if (!(error instanceof StartFailure)) throw error;
      if (!isRemembered) noEngine(error.message);
      verdicts.forget();
    }
  }
}

/** True where root that may not mount has no user namespace to do it in either, or wants none: then nobody can but itself. */
export async function isLastResort(workshop: Workshop, isolation: string | undefined): Promise<boolean> {
  if (process.geteuid?.() !== 0) return false;
  if (isolation === "chroot" && mayChroot(await workshop.rights())) return true;
  try {
    await planRootless(await workshop.verdicts(), { trust: true });
    return false;
  } catch (error) {
    if (!hasCode(error, "sandbox")) throw error;
    return true;
  }
}

interface EngineCall extends RemoteCall {
  readonly root: string;
  readonly rights: Rights;
}

async function callMapped(idMap: IdMap, warning: string | undefined, call: EngineCall): Promise<unknown> {
  // Until the engine runs, stderr is a pipe that tells us why it does not; descriptor 4 is the real one.
  const engine = ["sh", "-c", 'exec "$@" 2>&4 4>&-', "sh", process.execPath, distFile("engine.cjs")];
  const child = startRootless(idMap, engine, {
    stdio: ["inherit", "inherit", "pipe", "ipc", 2],
    serialization: "advanced",
  });
  const send = (message: ToEngine): void => {
    if (child.connected) child.send(message);
  };
  const abort = (): void => send({ type: "abort" });
  call.signal?.addEventListener("abort", abort);
  try {
    return await conversation(child, call, send, () => {
      if (warning !== undefined) call.onEvent?.({ type: "warning", code: "single-id", message: warning });
    });
  } finally {
    call.signal?.removeEventListener("abort", abort);
    if (child.connected) child.disconnect();
  }
}

function conversation(
  child: ChildProcess,
  call: EngineCall,
  send: (message: ToEngine) => void,
  onReady: () => void,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
    let settle = (): void => reject(new StartFailure(said));
    const take = (message: FromEngine): void => {
      switch (message.type) {
        case "ready":
          settle = () => reject(new CooperError("sandbox", "the engine process was killed"));
          onReady();
          send({
            type: "call",
            root: call.root,
            rights: call.rights,
            method: call.method,
            args: call.args,
          });
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

/** Why there is no engine, from what was said last. */
function noEngine(said: string): never {
  const { message, hint } = namespaceRefusal(said);
  withRungs(new CooperError("sandbox", message, hint === undefined ? {} : { hint }));
}

/** The rungs that this leaves out are named, too. */
function withRungs(error: unknown): never {
  if (!(error instanceof CooperError) || error.code !== "sandbox") throw error;
  const who = process.geteuid?.() === 0 ? "root without CAP_SYS_ADMIN" : "an ordinary user";
  throw new CooperError(
    "sandbox",
    `${error.message} (${who} needs one for isolation by native, oci and chroot)`,
    { cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) },
  );
}
