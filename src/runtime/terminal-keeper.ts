import type { Writable } from "node:stream";
import { HOST_PATH } from "./host-path.js";

/** Gives the terminal on stdin back as it was, should cooper be killed while it is raw. */
export interface TerminalKeeper {
  /** The terminal is as cooper wants it now. */
  changed(): void;
  /** Cooper has given it back itself. */
  dismiss(): void;
}

const NOBODY: TerminalKeeper = { changed: () => undefined, dismiss: () => undefined };

/**
 * Two lines may come on descriptor 3, then its end. When that comes without the second, cooper has died; but a shell which
 * noticed that first has made the terminal its own again.
 */
const SCRIPT = `raw=
IFS= read -r word <&3 && raw=$(stty -g)
IFS= read -r word <&3 && exit
[ -z "$raw" ] || [ "$(stty -g)" = "$raw" ] && stty "$0"`;

/**
 * Starts a shell in a session of its own, which a terminal's signals do not reach, and which keeps nobody running. Without
 * stty there is none. To be called before the terminal is changed.
 */
export function keepTerminal(): TerminalKeeper {
  const { spawn, spawnSync } = process.getBuiltinModule("node:child_process");
  const env = { PATH: HOST_PATH };
  const { status, stdout } = spawnSync("stty", ["-g"], {
    env,
    stdio: ["inherit", "pipe", "ignore"],
    encoding: "latin1",
  });
  if (status !== 0) return NOBODY;
  const child = spawn("sh", ["-c", SCRIPT, stdout.trim()], {
    cwd: "/",
    env,
    detached: true,
    stdio: ["inherit", "ignore", "ignore", "pipe"],
  });
  const pipe = child.stdio[3] as Writable & { readonly unref?: () => void };
  child.on("error", () => undefined);
  pipe.on("error", () => undefined);
  child.unref();
  pipe.unref?.();
  return { changed: () => void pipe.write("changed\n"), dismiss: () => void pipe.end("over\n") };
}
