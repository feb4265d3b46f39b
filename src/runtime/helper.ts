import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import { CooperError } from "../errors.js";
import type { HelperMessage, HelperRequest } from "./helper-plan.js";
import { explainStart } from "./explain.js";
import { HOST_PATH } from "./host-path.js";

/** Binds Node over itself, read-only, then becomes it; see seal.ts, which also serves where this fails. */
const SEAL = 'mount -o bind,ro -- "$0" "$0" 2>/dev/null; exec "$0" "$@"';

/** How long a starting helper may take to see the end of its input. */
const UNREADY_MS = 1500;

/** A helper process (child.ts) as the driver sees it. */
export interface Helper {
  /** The helper's next message. Throws `sandbox` when it cannot be started or has died. */
  next(): Promise<HelperMessage>;
  /** Sends a frame and the raw bytes that belong to it. Does nothing when the helper is dead: `next` says so. */
  send(request: HelperRequest, bytes?: Uint8Array): void;
  readonly alive: boolean;
  /** While held it keeps our event loop running; an idle one does not. */
  hold(held: boolean): void;
  /** Kills it with everything it started; resolves when all that is gone. */
  stop(): Promise<void>;
}

/**
 * Starts a helper. `setpriv` makes the kernel kill it when this thread ends, however that happens (so it must be started
 * from the main thread), and `unshare --kill-child` passes that on; its being process 1 of a namespace does the rest.
 */
export function startHelper(childPath: string): Helper {
  const unshare = ["unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child"];
  return launch(
    childPath,
    ["setpriv", "--pdeathsig", "KILL", "--", ...unshare, "--", "sh", "-c", SEAL],
    "kill",
  );
}

/**
 * Starts a helper that has to clean up behind it: it ends, and all it started with it, when its input does. So it dies
 * with this process, too, whatever ends that. `place`: a directory that it may have files in.
 */
export function startTidyHelper(childPath: string, place: string): Helper {
  return launch(childPath, [], "tidy", [place]);
}

/** How long a helper may take to tidy up. */
const TIDY_MS = 60_000;

function launch(
  childPath: string,
  launcher: readonly string[],
  ending: "kill" | "tidy",
  args: readonly string[] = [],
): Helper {
  // No threads, since copies would lack them; and everything compiled before the first copy, not in each of them again.
  const flags = ["--single-threaded", "--v8-pool-size=0", "--no-lazy", "--no-warnings"];
  const node = [process.execPath, ...flags, childPath, ...args];
  const [command = "", ...argv] = [...launcher, ...node];
  // Loaded here: a cached build imports this file and never gets this far.
  const { spawn } = process.getBuiltinModule("node:child_process");
  const child = spawn(command, argv, {
    cwd: "/",
    env: { PATH: HOST_PATH },
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "pipe", 0, 1, 2],
  });
  const control = child.stdio[3] as Socket;
  const complaints = child.stderr as Socket;
  const inbox = makeInbox();
  let said = "";
  let pid: number | undefined;
  let alive = true;
  complaints.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4096)));
  readLines(control, (line) => {
    const message = JSON.parse(line) as HelperMessage;
    if (message.type === "ready") ({ pid } = message);
    inbox.put(message);
  });
  const ended = new Promise<void>((resolve) => {
    const end = (error: Error): void => {
      alive = false;
      inbox.fail(error);
      resolve();
    };
    child.on("error", (error) => end(explainStart(error.message)));
    // "close", not "exit": only then all that it said has been read.
    child.on("close", (_code, signal) => end(pid === undefined ? explainStart(said) : died(said, signal)));
  });
  for (const stream of [control, complaints]) stream.on("error", () => undefined);
  const hold = (held: boolean): void => {
    for (const each of [child, control, complaints])
      if (held) each.ref();
      else each.unref();
  };
  hold(false);
  return {
    next: () => inbox.take(),
    send: (request, bytes) => {
      if (!alive) return;
      const body = Buffer.from(JSON.stringify(request), "utf8");
      const header = Buffer.alloc(4);
      header.writeUInt32LE(body.length);
      control.write(Buffer.concat([header, body]));
      if (bytes !== undefined && bytes.length > 0) control.write(bytes);
    },
    get alive() {
      return alive;
    },
    hold,
    stop: async () => {
      hold(true);
      if (!alive) return;
      // Killing the helper itself lets `unshare` outlive the whole tree, so that its end is the tree's.
      if (ending === "kill" && pid !== undefined) killQuietly(pid);
      else endInput(child, control, complaints, ending === "tidy" ? TIDY_MS : UNREADY_MS);
      await ended;
    },
  };
}

/**
 * Ends a helper by the end of its input. One that has not said its pid yet cannot be killed: killing its launcher could fall between the launcher's fork and the moment
 * from which the fork dies with it, and an orphan would keep our pipes open for ever: so the end of its input ends it.
 */
function endInput(child: ChildProcess, control: Socket, complaints: Socket, patienceMs: number): void {
  control.end();
  const timer = setTimeout(() => {
    child.kill("SIGKILL");
    complaints.destroy();
  }, patienceMs);
  child.once("close", () => clearTimeout(timer));
}

function died(said: string, signal: NodeJS.Signals | null): CooperError {
  const line = said.trim().split("\n").at(-1) ?? "";
  const reason = line === "" && signal !== null ? `killed by ${signal}` : line;
  return new CooperError(
    "sandbox",
    `the sandbox's helper process died${reason === "" ? "" : `: ${reason}`}`,
    signal === "SIGKILL" ? { hint: "the kernel does that when memory runs out" } : {},
  );
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

function readLines(stream: Socket, onLine: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
}

interface Inbox {
  put(message: HelperMessage): void;
  fail(error: Error): void;
  take(): Promise<HelperMessage>;
}

function makeInbox(): Inbox {
  const messages: HelperMessage[] = [];
  const waiting: { resolve(message: HelperMessage): void; reject(error: Error): void }[] = [];
  let failure: Error | undefined;
  return {
    put: (message) => {
      const first = waiting.shift();
      if (first === undefined) messages.push(message);
      else first.resolve(message);
    },
    fail: (error) => {
      failure ??= error;
      for (const each of waiting.splice(0)) each.reject(failure);
    },
    take: () => {
      const message = messages.shift();
      if (message !== undefined) return Promise.resolve(message);
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
  };
}
