import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { isCapability } from "./capabilities.js";
import { explainRefusal } from "./explain.js";
import { startHelper } from "./helper.js";
import type { Helper } from "./helper.js";
import type { ChrootPlan, HelperMessage, HelperMount, HelperPlan } from "./helper-plan.js";
import { readOutput } from "./output.js";
import type { Output } from "./output.js";
import { filterOf } from "./seccomp-filter.js";
import { isSystemPlace, stubLayers } from "./stubs.js";
import type { MountPlace, StubLayers } from "./stubs.js";
import { takeDescriptor } from "./syscalls.js";
import { joinTerminal, terminalSize } from "./terminal.js";
import type { JoinedTerminal } from "./terminal.js";
import type { ExitStatus, RunOptions, Sandbox, SandboxMount, SandboxPlan } from "./types.js";
import { resourceNumber } from "./ulimits.js";

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
const LAST_ID = 2 ** 32 - 2;

/** The native driver: needs setpriv and unshare (util-linux), and the rights of root, here or in a user namespace. */
export function openSandbox(options: SandboxOptions): Sandbox {
  const idle: Helper[] = [];
  const all = new Set<Helper>();
  let home: SandboxHome | undefined;
  const start = (): Helper => {
    const helper = startHelper(options.childPath);
    all.add(helper);
    return helper;
  };
  return {
    driver: "native",
    prewarm: () => {
      if (all.size === 0) idle.push(start());
    },
    run: async (plan, runOptions) => {
      if (runOptions.signal.aborted) throw abortedError();
      refuseImpossible(plan);
      refuseUnknown(plan);
      home ??= makeHome(options.scratchDir);
      const request = helperPlan(plan, home, options.userNamespace);
      const helper = takeAlive(idle, all) ?? start();
      helper.hold(true);
      try {
        return await runIn(helper, request, plan, runOptions);
      } finally {
        helper.hold(false);
        // One that was asked to kill may yet take that for its next request.
        const reusable = helper.alive && !runOptions.signal.aborted;
        if (reusable && idle.length < MAX_IDLE) idle.push(helper);
        else await retire(helper, all);
      }
    },
    [Symbol.asyncDispose]: async () => {
      idle.length = 0;
      await Promise.all([...all].map((helper) => retire(helper, all)));
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

interface SandboxHome {
  readonly dir: string;
  readonly mountPoint: string;
  readonly stubs: StubLayers;
}

function makeHome(scratchDir: string): SandboxHome {
  try {
    const dir = mkdtempSync(join(scratchDir, "sandbox-"));
    const mountPoint = join(dir, "root");
    mkdirSync(mountPoint);
    return { dir, mountPoint, stubs: stubLayers(dir) };
  } catch (error) {
    throw ioError("make a directory in", scratchDir, error);
  }
}

export function abortedError(): CooperError {
  return new CooperError("aborted", "the process was stopped");
}

/** What no kernel call may see, or would misread. The builder checks users' input; this guards against all of its callers. */
export function refuseImpossible(plan: SandboxPlan): void {
  const strings = [...plan.argv, ...Object.entries(plan.env).flat(), plan.cwd, plan.hostname];
  if (strings.some((text) => text.includes("\0")))
    throw new CooperError("usage", "a command, variable or path holds a NUL character");
  if (plan.argv.length === 0) throw new CooperError("usage", "there is no command to run");
  if (!plan.cwd.startsWith("/"))
    throw new CooperError("usage", `the working directory ${plan.cwd} is not absolute`);
  for (const name of Object.keys(plan.env)) {
    if (name === "" || name.includes("="))
      throw new CooperError("usage", `"${name}" cannot be the name of a variable`);
  }
  for (const id of [plan.uid, plan.gid, ...plan.groups]) {
    if (!Number.isInteger(id) || id < 0 || id > LAST_ID)
      throw new CooperError("usage", `${id} cannot be a user or group id`);
  }
  for (const name of plan.security.capabilities) {
    if (!isCapability(name)) throw new CooperError("usage", `unknown capability ${name}`);
  }
  if ((plan.network === "private") !== (plan.networkNamespace !== undefined))
    throw new Error(`network ${plan.network} with the namespace ${plan.networkNamespace ?? "of nobody"}`);
  for (const { target } of plan.mounts) {
    if (isSystemPlace(target))
      throw new CooperError(
        "usage",
        `cannot mount on ${target}: the root, /proc, /sys and /dev are the sandbox's own`,
      );
  }
}

/** What the plan can say and this driver does not do yet. */
function refuseUnknown({ devices, security, limits }: SandboxPlan): void {
  const { memoryBytes, cpus, pids } = limits;
  const asked: readonly (readonly [string, boolean])[] = [
    ["a device", devices.length > 0],
    ["a user namespace of its own", security.userNamespace === "own"],
    ["a limit", memoryBytes !== undefined || cpus !== undefined || pids.asked],
  ];
  const found = asked.find(([, is]) => is);
  if (found) throw new CooperError("unsupported", `the sandbox does not offer ${found[0]} yet`);
}

function helperPlan(plan: SandboxPlan, home: SandboxHome, userNamespace: boolean): HelperPlan {
  const { rootfs, stdin } = plan;
  const { capabilities, noNewPrivileges, kernelFiles, userNamespace: ownNamespace } = plan.security;
  if (rootfs.kind !== "overlay") throw new Error("the native driver mounts overlays");
  return {
    type: "plan",
    lowerDirs: home.stubs.around(rootfs.lowerDirs, plan.mounts.flatMap(placesOf)),
    upperDir: rootfs.upperDir,
    workDir: rootfs.workDir,
    mountPoint: home.mountPoint,
    argv: plan.argv,
    env: Object.entries(plan.env).map(([name, value]) => `${name}=${value}`),
    cwd: plan.cwd,
    uid: plan.uid,
    gid: plan.gid,
    // The primary group among the others too: without it a process could shed it (hazard C17).
    groups: [...new Set([plan.gid, ...plan.groups])],
    hostname: plan.hostname,
    network: plan.network,
    networkNamespace: plan.networkNamespace ?? "",
    mounts: plan.mounts.map(forHelper),
    stdin: typeof stdin === "string" ? stdin : "bytes",
    stdinBytes: typeof stdin === "string" ? 0 : stdin.length,
    stdio: plan.stdio,
    terminal: terminalSize(),
    security: { capabilities, noNewPrivileges, kernelFiles, userNamespace: ownNamespace },
    filter: filterOf(plan.security),
    ulimits: plan.limits.ulimits.map((limit) => ({ ...limit, resource: resourceNumber(limit.name) })),
    shmBytes: plan.limits.shmBytes,
    userNamespace,
  };
}

/** A secret travels with the plan over the helper's own channel, never in arguments or the environment. */
export function forHelper(mount: SandboxMount): HelperMount {
  if (mount.type !== "secret") return mount;
  const { content, ...rest } = mount;
  return { ...rest, base64: Buffer.from(content).toString("base64") };
}

/** Where it is to be mounted, when it is known what it is; else the helper makes a place, and removes it. */
function placesOf(mount: SandboxMount): readonly MountPlace[] {
  const { type, target } = mount;
  if (type === "layers" || (type === "bind" && mount.inside !== undefined)) return [];
  if (type !== "bind") return [{ target, kind: type === "secret" ? "file" : "directory" }];
  try {
    return [{ target, kind: statSync(mount.source).isDirectory() ? "directory" : "file" }];
  } catch (error) {
    if (errnoOf(error) === "ENOENT")
      throw new CooperError("not-found", `mount source ${mount.source} does not exist`, { cause: error });
    throw ioError("look at", mount.source, error);
  }
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
