import type { ChildProcess } from "node:child_process";
import { openSync, readlinkSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { HOST_PATH } from "./host-path.js";

/** How long a program may take until it is ready; one that hangs is killed then. */
export const READY_MS = 5000;

/** A process in a namespace of its own that does nothing but hold it. `onStart` is told of it before it is ready. */
export async function holdNamespace(
  kind: "net" | "user",
  before: readonly string[],
  onStart: (child: ChildProcess) => void,
): Promise<ChildProcess> {
  const child = start(["unshare", `--${kind}`, "--", ...before, "cat"], ["pipe", "pipe", "pipe"]);
  onStart(child);
  // What cat says back is said in the new namespace.
  (child.stdin as Writable).write("\n");
  await said(child, child.stdout as Readable, `a ${kind === "net" ? "network" : "user"} namespace`);
  return child;
}

/** A namespace of a process that we hold from now on, and the path by which others open it. The caller closes. */
export function openNamespaceOf(
  pid: number,
  kind: "net" | "user",
): { readonly fd: number; readonly path: string } {
  const fd = openSync(`/proc/${pid}/ns/${kind}`, "r");
  return { fd, path: `/proc/${readlinkSync("/proc/self")}/fd/${fd}` };
}

/** Starts a program that is killed when we end; one whose parent had ended before it could say so ends itself. */
export function start(command: readonly string[], stdio: readonly ("pipe" | "ignore")[]): ChildProcess {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const orphan = '[ "$PPID" = "$0" ] && exec "$@"';
  const child = spawn(
    "setpriv",
    ["--pdeathsig", "KILL", "--", "sh", "-c", orphan, String(process.pid), ...command],
    { cwd: "/", env: { PATH: HOST_PATH }, detached: true, stdio: [...stdio] },
  );
  for (const stream of child.stdio) stream?.on("error", () => undefined);
  return child;
}

/** Waits for a first byte. Throws what the program said when it ends before, or takes too long. */
export async function said(
  child: ChildProcess,
  stream: Readable,
  name: string,
  patienceMs = READY_MS,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const giveUp = (): void => reject(new Error(`${name} does not become ready`));
    // We may have been at something else all the while: what has been said by now is heard first.
    timer = setTimeout(() => setImmediate(giveUp), patienceMs);
  });
  const first = new Promise((resolve) => stream.once("data", resolve));
  try {
    await Promise.race([first, late, endOf(child, name)]);
  } finally {
    clearTimeout(timer);
  }
}

/** Rejects with what the program said last, when it ends. */
export function endOf(child: ChildProcess, name: string): Promise<never> {
  let last = "";
  const { stderr } = child;
  stderr?.setEncoding("utf8").on("data", (text: string) => (last = (last + text).slice(-4096)));
  const ended = new Promise<never>((_, reject) => {
    child.on("error", (error) => reject(new Error(`${name}: ${error.message}`)));
    child.on("close", () => {
      const line = last.trim().split("\n").at(-1) ?? "";
      reject(new Error(`${name}: ${line === "" ? "ended at once" : line}`));
    });
  });
  // Whoever waits for it hears of it; while nobody does it is no news.
  ended.catch(() => undefined);
  return ended;
}

export async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGKILL");
  for (const stream of child.stdio) stream?.destroy();
  await gone;
}
