import { writeSync } from "node:fs";
import { STRANGLED, execute, resetSignals, takeIdentity } from "./become.js";
import { copySelf, exit, readAll, reap } from "./copy.js";
import type { HelperPlan, Refusal } from "./helper-plan.js";
import { refusalOf } from "./refusal.js";
import { O_DIRECTORY, O_PATH, close, cString, makePipe, openAt, syscall, trySyscall } from "./syscalls.js";

/** Whether a command can be started, found out before a runtime is asked to. */
export type Lookup =
  /** `path`: what was executed; undefined: not known, the runtime shall see for itself. */
  | { readonly kind: "found"; readonly path: string | undefined }
  | { readonly kind: "failed"; readonly status: number; readonly reason: string }
  | { readonly kind: "refused"; readonly refusal: Refusal };

/** What the copy says, a line each: the last one counts. */
type Report =
  | { readonly trying: string }
  | { readonly untraced: true }
  | { readonly status: number; readonly reason: string }
  | { readonly refusal: Refusal };

/** What it says before the filter is in force. */
const FILTERED = "-";
const SIGTRAP_STOP = 0x57f;

/**
 * Each runtime has words and statuses of its own for a command that is not found or cannot be executed, and some say so
 * only after the start, as if they were the command. So a copy of this process becomes the command as the native driver
 * does it, but traced: the kernel stops it before its first instruction, and it is ended there.
 */
export function lookUp(plan: HelperPlan, filter: Buffer | undefined, rootFd: number, cwd: string): Lookup {
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const report = makePipe();
    const copy = copySelf();
    if (copy === undefined) tryCommand(plan, filter, rootFd, cwd, report.writeEnd);
    close(report.writeEnd);
    const status = reap(copy.pid);
    if ((status & 0xff) === 0x7f) {
      trySyscall("kill", copy.pid, 9);
      reap(copy.pid);
    }
    close(copy.pidFd);
    const last = readAll(report.readEnd).trim().split("\n").at(-1) ?? "";
    if (last === "") continue;
    if (last === FILTERED) throw new Error(STRANGLED);
    const said = JSON.parse(last) as Report;
    if ("refusal" in said) return { kind: "refused", refusal: said.refusal };
    if ("status" in said) return { kind: "failed", ...said };
    if ("untraced" in said) return { kind: "found", path: undefined };
    if (status === SIGTRAP_STOP) return { kind: "found", path: said.trying };
  }
  throw new Error("the helper's copy crashed");
}

function tryCommand(
  plan: HelperPlan,
  filter: Buffer | undefined,
  rootFd: number,
  cwd: string,
  report: number,
): never {
  const say = (what: Report): void => void writeSync(report, `${JSON.stringify(what)}\n`);
  try {
    syscall("fchdir", "/", rootFd);
    syscall("chroot", "/", cString("."));
    // Where it is not below /proc, which is not there yet.
    const here = trySyscall("chdir", cString(cwd));
    if (here < 0) syscall("fchdir", "/", openAt(rootFd, ".", O_PATH | O_DIRECTORY));
    writeSync(report, `${FILTERED}\n`);
    takeIdentity(plan, filter);
    resetSignals();
    if (trySyscall("ptrace", 0 /* TRACEME */, 0, 0, 0) < 0) say({ untraced: true });
    else say(execute(plan.argv, plan.env, (trying) => say({ trying })));
  } catch (error) {
    say({ refusal: refusalOf(error) });
  }
  exit();
}
