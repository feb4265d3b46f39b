import type { Readable } from "node:stream";
import { CooperError } from "../errors.js";
import type { Sink } from "./world.js";

/** Where prompts read from; process.stdin is one. The two more are there when it is a terminal. */
export type Input = Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };

const LONGEST_INPUT = 1024 * 1024;

/**
 * Reads one line; undefined at the end of the input. A secret typed at a terminal is not shown, only the line break
 * after it is. Throws what `signal` was aborted with.
 */
export async function readLine(
  input: Input,
  echo: Sink,
  options: { readonly secret: boolean; readonly signal: AbortSignal },
): Promise<string | undefined> {
  const hidden = options.secret && input.isTTY === true;
  const line = hidden ? hiddenLine() : shownLine();
  if (hidden) input.setRawMode?.(true);
  try {
    return await collect(input, line, options.signal);
  } finally {
    if (hidden) {
      input.setRawMode?.(false);
      echo.write("\n");
    }
  }
}

/** Reads to the end of the input. Throws `usage` when that is more than 1 MiB. */
export async function readAll(input: Input, signal: AbortSignal): Promise<string> {
  const all: Buffer[] = [];
  const eater: Eater = {
    eat: (chunk) => {
      all.push(chunk);
      return undefined;
    },
    end: () => Buffer.concat(all).toString("utf8"),
  };
  return (await collect(input, eater, signal)) ?? "";
}

/** Takes chunks until it has what it wants. */
interface Eater {
  /** The answer, and the bytes after it; undefined while more is needed. */
  eat(chunk: Buffer): { readonly answer: string | undefined; readonly rest: Buffer } | undefined;
  /** The answer when the input ended. */
  end(): string | undefined;
}

function collect(input: Input, eater: Eater, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let size = 0;
    const settle = (finish: () => void): void => {
      input.off("data", onData);
      input.off("end", onEnd);
      input.off("error", onError);
      signal.removeEventListener("abort", onAbort);
      input.pause();
      finish();
    };
    const onError = (error: Error): void => settle(() => reject(error));
    const onAbort = (): void => onError(signal.reason as Error);
    const onEnd = (): void => settle(() => resolve(eater.end()));
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > LONGEST_INPUT) return onError(new CooperError("usage", "the input is longer than 1 MiB"));
      const eaten = eater.eat(chunk);
      if (!eaten) return;
      settle(() => resolve(eaten.answer));
      if (eaten.rest.length > 0) input.unshift(eaten.rest);
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort);
    input.on("error", onError);
    input.on("end", onEnd);
    input.on("data", onData);
    // After an earlier question's pause, a listener alone does not start the input again.
    input.resume();
  });
}

/** A line as a terminal or a pipe hands it out. */
function shownLine(): Eater {
  let typed = Buffer.alloc(0);
  return {
    eat: (chunk) => {
      const bytes = Buffer.concat([typed, chunk]);
      const end = bytes.indexOf("\n");
      typed = bytes;
      if (end < 0) return undefined;
      return { answer: bytes.toString("utf8", 0, end).replace(/\r$/, ""), rest: bytes.subarray(end + 1) };
    },
    end: () => (typed.length === 0 ? undefined : typed.toString("utf8")),
  };
}

const CTRL_C = 0x03;
const CTRL_D = 0x04;
const BACKSPACE = 0x08;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const CTRL_U = 0x15;
const DELETE = 0x7f;

/** A line typed in raw mode, where the terminal leaves editing and Ctrl-C to us. */
function hiddenLine(): Eater {
  let typed: number[] = [];
  const answer = (): string => Buffer.from(typed).toString("utf8");
  return {
    eat: (chunk) => {
      for (const [at, byte] of chunk.entries()) {
        if (byte === LINE_FEED || byte === CARRIAGE_RETURN)
          return { answer: answer(), rest: chunk.subarray(at + 1) };
        if (byte === CTRL_D && typed.length === 0) return { answer: undefined, rest: chunk.subarray(at + 1) };
        if (byte === CTRL_C) process.kill(process.pid, "SIGINT");
        else if (byte === CTRL_U) typed = [];
        else if (byte === BACKSPACE || byte === DELETE) typed = withoutLastCharacter(answer());
        else if (byte !== CTRL_D) typed.push(byte);
      }
      return undefined;
    },
    end: () => (typed.length === 0 ? undefined : answer()),
  };
}

/** A character may be several bytes. */
function withoutLastCharacter(text: string): number[] {
  return [...Buffer.from(Array.from(text).slice(0, -1).join(""))];
}
