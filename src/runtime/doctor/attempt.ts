import { HOST_PATH } from "../host-path.js";
import type { Refused } from "./check.js";
import { PATIENCE_MS, refusedBy } from "./check.js";

export type Attempt =
  | { readonly ok: true; readonly said: string }
  | { readonly ok: false; readonly timedOut: boolean; readonly refused: Refused };

/** Runs a program of the machine to its end, which comes by force after some seconds. */
export function attempt(argv: readonly [string, ...string[]], path = HOST_PATH): Promise<Attempt> {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const [program, ...args] = argv;
  // A group of its own, so that what it started ends with it.
  const child = spawn(program, args, {
    cwd: "/",
    detached: true,
    env: { PATH: path, LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name]
      .setEncoding("utf8")
      .on("data", (text: string) => (said[name] = (said[name] + text).slice(-4096)));
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
    for (const stream of [child.stdout, child.stderr]) stream.destroy();
  }, PATIENCE_MS);
  return new Promise((resolve) => {
    const end = (result: Attempt): void => {
      clearTimeout(timer);
      resolve(result);
    };
    child.on("error", (error) => end({ ok: false, timedOut, refused: refusedBy(error.message, program) }));
    child.on("close", (code) => {
      if (code === 0) return end({ ok: true, said: said.stdout });
      const line = said.stderr.trim().split("\n").at(-1) ?? "";
      const late = `no answer within ${PATIENCE_MS / 1000} s`;
      const found = timedOut ? late : line === "" ? `${program} ended with status ${code ?? "?"}` : line;
      end({ ok: false, timedOut, refused: refusedBy(found, /(\w+) failed/.exec(found)?.[1] ?? program) });
    });
  });
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has just ended.
  }
}
