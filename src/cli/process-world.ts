import { fstatSync, writeSync } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import type { Sink, Source, World } from "./world.js";

/** A sink over a file descriptor, and what went wrong with it other than a reader that left. */
export interface FdSink extends Sink {
  readonly failure: CooperError | undefined;
}

const MEMORY_DEVICES = 1;

/**
 * True for a terminal. Node's tty module costs 2-3 ms to load, so pipes, files and /dev/null are told apart first.
 */
function isTerminal(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    if (!stat.isCharacterDevice() || majorOf(stat.rdev) === MEMORY_DEVICES) return false;
  } catch {
    return false;
  }
  return process.getBuiltinModule("node:tty").isatty(fd);
}

/** The major number of a device as Linux packs it into the low 32 bits. */
function majorOf(rdev: number): number {
  return (rdev >>> 8) & 0xfff;
}

/**
 * Writes with plain system calls: they wait for a slow reader, so the output of a step is slowed down at its source
 * and never piles up in memory, and they need none of Node's streams, which would cost every start some milliseconds.
 */
export function fdSink(fd: 1 | 2, name: string): FdSink {
  let closed = false;
  let failure: CooperError | undefined;
  const write = (chunk: string | Uint8Array): void => {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    for (let done = 0; done < bytes.length && !closed;) {
      try {
        done += writeSync(fd, bytes, done);
      } catch (error) {
        if (errnoOf(error) === "EAGAIN") {
          pause();
        } else {
          closed = true;
          if (errnoOf(error) !== "EPIPE") failure = ioError("write to", name, error);
        }
      }
    }
  };
  return {
    write,
    get isTerminal() {
      return isTerminal(fd);
    },
    get columns() {
      return (fd === 1 ? process.stdout : process.stderr).columns;
    },
    get closed() {
      return closed;
    },
    get failure() {
      return failure;
    },
  };
}

const PAUSE_MS = 5;

/** Somebody else made the descriptor non-blocking and its buffer is full. */
function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
}

function stdinSource(stderr: Sink): Source {
  return {
    get isTerminal() {
      return isTerminal(0);
    },
    readLine: async (options) => {
      const { readLine } = await import("./prompt.js");
      return readLine(process.stdin, stderr, options);
    },
    readAll: async (signal) => {
      const { readAll } = await import("./prompt.js");
      return readAll(process.stdin, signal);
    },
  };
}

/** The world of this process. `version` is cooper's own. */
export function processWorld(
  version: string,
  signal: AbortSignal,
): World & { readonly stdout: FdSink; readonly stderr: FdSink } {
  const stderr = fdSink(2, "stderr");
  return {
    open: async (options) => (await import("../index.js")).openCooper(options),
    stdout: fdSink(1, "stdout"),
    stderr,
    stdin: stdinSource(stderr),
    env: process.env,
    get cwd() {
      try {
        return process.cwd();
      } catch (error) {
        throw new CooperError("io", "the current directory does not exist any more", { cause: error });
      }
    },
    now: () => Date.now(),
    signal,
    version,
  };
}
