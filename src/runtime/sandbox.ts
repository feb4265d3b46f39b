import { rmSync } from "node:fs";
import { constants } from "node:os";
import { CooperError } from "../errors.js";
import { openCgroups } from "./cgroup.js";
import type { ProcessCgroup } from "./cgroup.js";
import { narrowedDevices } from "./device-request.js";
import { explainRefusal } from "./explain.js";
import { startHelper } from "./helper.js";
import type { Helper } from "./helper.js";
import type { ChrootPlan, HelperMessage, HelperPlan } from "./helper-plan.js";
import type { OciRuntime } from "./oci-runtime.js";
import { readOutput } from "./output.js";
import type { Output } from "./output.js";
import { helperPlan, makeHome, refuseImpossible } from "./plan-request.js";
import type { SandboxHome } from "./plan-request.js";
import { takeDescriptor } from "./syscalls.js";
import { joinTerminal } from "./terminal.js";
import type { JoinedTerminal } from "./terminal.js";
import type { ExitStatus, RunOptions, Sandbox, SandboxPlan } from "./types.js";
import { refuseForeignIds } from "./user-namespace.js";

export interface SandboxOptions {
  /** The bundled helper, dist/sandbox-child.cjs. */
  readonly childPath: string;
  /** An existing directory of ours; what we make in it is gone after dispose. */
  readonly scratchDir: string;
  /** True inside a user namespace, where uid 0 is a mapped one. */
  readonly userNamespace: boolean;
}

/** More idle helpers than this are not kept; each costs about 45 MB. */
const MAX_IDLE = 4;
/** How long a helper may take to end a killed process before it is killed itself. */
const KILL_MS = 1500;

/** The native driver: needs setpriv and unshare (util-linux), and the rights of root, here or in a user namespace. */
export function openSandbox(options: SandboxOptions): Sandbox {
  return openDriver(options, null);
}

/** The driver that leaves a process's start to an OCI runtime; everything around it is as with the native one. */
export function openOciSandbox(options: SandboxOptions & { readonly runtime: OciRuntime }): Sandbox {
  return openDriver(options, options.runtime);
}

function openDriver(options: SandboxOptions, runtime: OciRuntime | null): Sandbox {
  const idle: Helper[] = [];
  const all = new Set<Helper>();
  const cgroups = openCgroups(options.userNamespace);
  let home: SandboxHome | undefined;
  const start = (): Helper => {
    const helper = startHelper(options.childPath);
    all.add(helper);
    return helper;
  };
  return {
    driver: runtime === null ? "native" : "oci",
    prewarm: () => {
      if (all.size === 0) idle.push(start());
    },
    run: async (plan, runOptions) => {
      if (runOptions.signal.aborted) throw abortedError();
      refuseImpossible(plan);
      refuseForeignIds(plan);
      home ??= makeHome(options.scratchDir);
      const cgroup = cgroups.make(plan.limits, narrowedDevices(plan));
      let helper: Helper | undefined;
      try {
        tellOfPids(cgroup, plan, options.userNamespace, runOptions);
        const { userNamespace } = options;
        const own = plan.security.userNamespace;
        const ownNamespace = own === "shared" ? undefined : await own.open(options);
        const request = helperPlan(plan, home, { userNamespace, ownNamespace, cgroup, runtime });
        helper = takeAlive(idle, all) ?? start();
        helper.hold(true);
        const status = await runIn(helper, request, plan, runOptions);
        return cgroup.ranOutOfMemory() ? { ...status, outOfMemory: true } : status;
      } finally {
        helper?.hold(false);
        // One that was asked to kill may yet take that for its next request.
        const reusable = helper?.alive === true && !runOptions.signal.aborted;
        if (reusable && helper && idle.length < MAX_IDLE) idle.push(helper);
        else if (helper) await retire(helper, all);
        await cgroup.remove();
      }
    },
    [Symbol.asyncDispose]: async () => {
      idle.length = 0;
      await Promise.all([...all].map((helper) => retire(helper, all)));
      await cgroups[Symbol.asyncDispose]();
      if (home !== undefined) rmSync(home.dir, { recursive: true, force: true });
      home = undefined;
    },
  };
}

/** An idle helper may have been killed meanwhile, when memory ran out for instance. */
export function takeAlive(idle: Helper[], all: Set<Helper>): Helper | undefined {
  for (let helper = idle.pop(); helper !== undefined; helper = idle.pop()) {
    if (helper.alive) return helper;
    all.delete(helper);
  }
  return undefined;
}

export async function retire(helper: Helper, all: Set<Helper>): Promise<void> {
  all.delete(helper);
  await helper.stop();
}

/** Of a limit that nobody asked for only root outside of a user namespace has nothing in its place. */
function tellOfPids(cgroup: ProcessCgroup, plan: SandboxPlan, inside: boolean, options: RunOptions): void {
  if (cgroup.withoutPids === undefined || inside) return;
  options.onNotice?.({
    code: "pids-limit",
    message: `processes are not limited to ${plan.limits.pids.limit}, as they should be: ${cgroup.withoutPids}; --pids-limit 0 asks for no limit`,
  });
}

export function abortedError(): CooperError {
  return new CooperError("aborted", "the process was stopped");
}

/** One process, from an idle helper to an idle helper. */
export async function runIn(
  helper: Helper,
  request: HelperPlan | ChrootPlan,
  plan: SandboxPlan,
  options: RunOptions,
): Promise<ExitStatus> {
  const ready = await helper.next();
  if (ready.type !== "ready") throw new Error(`helper said ${ready.type} before it was ready`);
  if (options.signal.aborted) {
    await helper.stop();
    throw abortedError();
  }
  const kill = killer(helper);
  let output: Output | undefined;
  let terminal: JoinedTerminal | undefined;
  options.signal.addEventListener("abort", kill.now);
  try {
    if (request.stdio === "pipe") output = readOutput(ready.pid, ready, options.onOutput);
    output?.failed.catch(kill.now);
    helper.send(request, typeof plan.stdin === "string" ? undefined : plan.stdin);
    let answer = await helper.next();
    if (answer.type === "terminal") {
      terminal = joinTerminal(takeDescriptor(ready.pid, answer.fd));
      terminal.ended.catch(kill.now);
      helper.send({ type: "go" });
      answer = await helper.next();
    }
    if (options.signal.aborted) throw abortedError();
    const status = statusOf(answer);
    await Promise.race([
      Promise.all([output?.drain(), terminal?.ended]),
      output?.failed ?? kill.asked,
      kill.asked,
    ]);
    if (options.signal.aborted) throw abortedError();
    return status;
  } catch (error) {
    // A helper that died in the middle of a kill we asked for is not the news.
    if (options.signal.aborted) throw abortedError();
    throw error;
  } finally {
    kill.cancel();
    options.signal.removeEventListener("abort", kill.now);
    output?.close();
    terminal?.leave();
  }
}

/** Ends the process through its helper; when that takes too long, the helper goes as well. */
function killer(helper: Helper): {
  readonly now: () => void;
  readonly cancel: () => void;
  readonly asked: Promise<void>;
} {
  let timer: NodeJS.Timeout | undefined;
  let ask: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => (ask = resolve));
  return {
    asked,
    now: () => {
      if (timer !== undefined) return;
      ask();
      helper.send({ type: "kill" });
      timer = setTimeout(() => void helper.stop(), KILL_MS);
    },
    cancel: () => clearTimeout(timer),
  };
}

function statusOf(answer: HelperMessage): ExitStatus {
  if (answer.type === "refused") throw explainRefusal(answer.refusal);
  if (answer.type !== "exit") throw new Error(`helper said ${answer.type} instead of an end`);
  const number = answer.status & 0x7f;
  if (number === 0) return { kind: "exited", code: (answer.status >> 8) & 0xff };
  return { kind: "killed", signal: signalName(number) };
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}
