import { closeSync, constants, openSync } from "node:fs";
import type { Socket } from "node:net";
import { explainRefusal } from "./explain.js";
import { refusalOf } from "./refusal.js";

type Listener = (stream: "stdout" | "stderr", chunk: Uint8Array) => void | Promise<void>;

/** How long a stream may stay silent after its process has ended before it is given up. */
const GRACE_MS = 500;

/** The reading side of a process's stdout and stderr. */
export interface Output {
  /** Rejects with what the listener threw; from then on nothing more is read. */
  readonly failed: Promise<never>;
  /** To be called when the process has ended: resolves when all it wrote has been handed over. */
  drain(): Promise<void>;
  /** Gives up at once. */
  close(): void;
}

/**
 * Opens the pipes that a helper holds and hands their content to `listener`, one call at a time, in pieces of at most
 * 64 KiB. Nothing more is read while a call is pending: then the pipe fills, and the process waits.
 */
export function readOutput(
  pid: number,
  ends: { readonly stdout: number; readonly stderr: number },
  listener: Listener | undefined,
): Output {
  const stdout = openPipe(pid, ends.stdout);
  let stderr: Socket;
  try {
    stderr = openPipe(pid, ends.stderr);
  } catch (error) {
    stdout.destroy();
    throw error;
  }
  let turn: Promise<void> = Promise.resolve();
  let pieces = 0;
  let pending = 0;
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => (fail = reject));
  failed.catch(() => undefined);
  const close = (): void => {
    stdout.destroy();
    stderr.destroy();
  };
  const pump = async (stream: "stdout" | "stderr", socket: Socket): Promise<void> => {
    try {
      for await (const chunk of socket) {
        pieces += 1;
        pending += 1;
        turn = turn.then(() => listener?.(stream, chunk as Uint8Array));
        await turn;
        pending -= 1;
      }
    } catch (error) {
      if (!socket.destroyed || pending > 0) fail(error);
      close();
    }
  };
  const pumps = Promise.all([pump("stdout", stdout), pump("stderr", stderr)]);
  return {
    failed,
    close,
    drain: async () => {
      // Somebody outside of the sandbox may have been handed the pipe and keep it open (hazards P1, X15).
      let before = -1;
      const timer = setInterval(() => {
        if (pieces === before && pending === 0) close();
        before = pieces;
      }, GRACE_MS);
      await pumps.finally(() => clearInterval(timer));
    },
  };
}

/** Without CAP_SYS_PTRACE the kernel may show nothing of a process that has sealed itself. */
function openOther(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw explainRefusal({ ...refusalOf(error, "read what a process writes"), path });
  }
}

/** A pipe of another process, opened anew: our end is non-blocking and theirs is not. */
function openPipe(pid: number, fd: number): Socket {
  const own = openOther(`/proc/${pid}/fd/${fd}`);
  try {
    // Loaded here: a cached build imports this file and never gets this far.
    const net = process.getBuiltinModule("node:net");
    return new net.Socket({ fd: own, readable: true, writable: false });
  } catch (error) {
    closeSync(own);
    throw error;
  }
}
