import { mkdtempSync } from "node:fs";
import { CooperError, hasCode, ioError } from "../../errors.js";
import type { ExitStatus, SandboxPlan } from "../../runtime/index.js";
import { memoryText } from "../../runtime/index.js";
import type { PreparedRootfs } from "../../snapshot/index.js";
import type { BuildEngine } from "../engine.js";
import type { StageState } from "../state.js";
import { serializeConfig, shellOf, withStep } from "../state.js";
import type { StepSite } from "./step.js";

/** As timeout(1) answers. */
const TIMED_OUT = 124;

/** How the process of a RUN ended; "late": it ran longer than it may, and was killed with all that it started. */
export type RunEnd = ExitStatus | { readonly kind: "late" };

/** Runs a step's process, for as long as `--run-timeout` says. Throws what `Sandbox.run` throws. */
export async function runToItsEnd(plan: SandboxPlan, site: StepSite, engine: BuildEngine): Promise<RunEnd> {
  const sandbox = await engine.sandbox();
  const { runTimeoutMs } = engine.onFailure;
  const clock = new AbortController();
  const timer = runTimeoutMs === 0 ? undefined : setTimeout(() => clock.abort(), runTimeoutMs);
  try {
    return await sandbox.run(plan, {
      signal: timer === undefined ? engine.signal : AbortSignal.any([engine.signal, clock.signal]),
      onNotice: engine.notice,
      onOutput: (stream, chunk) => engine.emit({ type: "output", step: site.position, stream, chunk }),
    });
  } catch (error) {
    if (clock.signal.aborted && !engine.signal.aborted && hasCode(error, "aborted")) return { kind: "late" };
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

export function hasSucceeded(end: RunEnd): boolean {
  return end.kind === "exited" && end.code === 0;
}

/** A RUN that failed, with what it left. */
export interface FailedRun {
  readonly end: RunEnd;
  /** All that it mounted is still there. */
  readonly plan: SandboxPlan;
  readonly rootfs: PreparedRootfs;
  /** Of the stage before the step. */
  readonly state: StageState;
  /** For the history of what is kept. */
  readonly createdBy: string;
  readonly site: StepSite;
}

/** Does what `--on-failure` says, for the step that the build fails with only, and throws `run-failed`. */
export async function failStep(failed: FailedRun, engine: BuildEngine): Promise<never> {
  const { end, site } = failed;
  const { next, runTimeoutMs } = engine.onFailure;
  const error = failureOf(failed, runTimeoutMs);
  const { exitCode } = error;
  engine.emit({ type: "step-failed", step: site.position, reason: reasonOf(end), exitCode, next });
  const signal = next === "stop" ? undefined : await engine.failing(error);
  if (signal === undefined) throw error;
  try {
    // The same error: others may have been stopped with it.
    if (next === "keep") Object.assign(error, { hint: await keep(failed, engine) });
    else await openShell(failed, engine, signal);
  } catch (problem) {
    signal.throwIfAborted();
    const message = problem instanceof Error ? problem.message : String(problem);
    const what =
      next === "keep" ? "what the failed step left is not kept" : "there is no shell in the failed step";
    engine.emit({ type: "warning", code: "on-failure", message: `${what}: ${message}` });
  }
  throw error;
}

function reasonOf(end: RunEnd): string {
  if (end.kind === "exited") return `exit status ${end.code}`;
  return end.kind === "killed" ? `killed by ${end.signal}` : "timeout";
}

function failureOf({ end, plan, site }: FailedRun, timeoutMs: number): CooperError {
  const what =
    end.kind === "late"
      ? `the command ran longer than --run-timeout ${duration(timeoutMs)} and was stopped`
      : `while running runtime: ${reasonOf(end)}${memoryReason(end, plan)}`;
  return new CooperError("run-failed", `building at STEP "${site.text}": ${what}`, {
    source: site.source,
    span: site.span,
    exitCode: end.kind === "exited" ? end.code : end.kind === "late" ? TIMED_OUT : 125,
  });
}

function memoryReason(end: RunEnd, { limits: { memoryBytes } }: SandboxPlan): string {
  const isFull = end.kind !== "late" && end.outOfMemory === true && memoryBytes !== undefined;
  return isFull ? `; the memory limit of ${memoryText(memoryBytes)} was reached` : "";
}

/** `1h30m`, `10s`, `0.5s`: as the flag takes it. */
function duration(ms: number): string {
  const [hours, minutes] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60];
  const seconds = (ms % 60_000) / 1000;
  const parts = [
    hours > 0 ? `${hours}h` : "",
    minutes > 0 ? `${minutes}m` : "",
    seconds > 0 ? `${seconds}s` : "",
  ];
  return parts.join("");
}

/**
 * Makes an image of what the step left, and says how to look at it. It is nobody's step: no cache record leads to it, and
 * the comment in its history tells it from an image of the same step that succeeds.
 */
async function keep(
  { end, rootfs, state, createdBy, site }: FailedRun,
  engine: BuildEngine,
): Promise<string> {
  const { diffId } = await (await engine.snapshotter()).commit(rootfs);
  const config = withStep(state.config, { diffId }, createdBy, engine.times.created(engine.now()));
  const history = config.history.map((entry, i) =>
    i === config.history.length - 1 ? { ...entry, comment: `failed: ${reasonOf(end)}` } : entry,
  );
  const { id } = engine.store.addImage({
    config: serializeConfig({ ...config, history }),
    intermediate: false,
  });
  const imageId = id.slice("sha256:".length);
  engine.emit({ type: "kept", step: site.position, imageId });
  const short = imageId.slice(0, 12);
  const [shell = "sh"] = state.config.config.Shell ?? [];
  const enter =
    state.config.config.Entrypoint === undefined ? `${short} ${shell}` : `--entrypoint ${shell} ${short}`;
  return `what it left is kept as ${short}; to look at it: cooper run --rm -it ${enter}`;
}

/** The same process but for its command, on cooper's terminal. */
async function openShell(
  { plan, state }: FailedRun,
  engine: BuildEngine,
  signal: AbortSignal,
): Promise<void> {
  const [shell = "/bin/sh"] = shellOf(state.config.config);
  const sandbox = await engine.sandbox();
  await sandbox.run(
    {
      ...plan,
      rootfs: mountableAgain(plan.rootfs),
      argv: [shell],
      env: { TERM: engine.environment["TERM"] ?? "xterm", ...plan.env },
      stdin: "inherit",
      stdio: "tty",
    },
    { signal },
  );
}

/** A volatile overlay marks its work directory, and the kernel refuses to mount with that one again. */
function mountableAgain(rootfs: SandboxPlan["rootfs"]): SandboxPlan["rootfs"] {
  if (rootfs.kind !== "overlay") return rootfs;
  try {
    return { ...rootfs, workDir: mkdtempSync(`${rootfs.workDir}-`) };
  } catch (error) {
    throw ioError("make a directory beside", rootfs.workDir, error);
  }
}
