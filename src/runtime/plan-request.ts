import { mkdirSync, mkdtempSync, statSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { isCapability } from "./capabilities.js";
import type { ProcessCgroup } from "./cgroup.js";
import { checkDeviceTarget, lookAtDevice } from "./device-request.js";
import type { HelperDevice, HelperMount, HelperPlan } from "./helper-plan.js";
import type { HelperIdMapping } from "./id-mapping.js";
import type { OciRuntime } from "./oci-runtime.js";
import { seccompJson } from "./oci-seccomp.js";
import { filterOf } from "./seccomp-filter.js";
import { isSystemPlace, stubLayers } from "./stubs.js";
import type { MountPlace, StubLayers } from "./stubs.js";
import { terminalSize } from "./terminal.js";
import type { SandboxDevice, SandboxMount, SandboxPlan } from "./types.js";
import { lowered, resourceNumber } from "./ulimits.js";

const LAST_ID = 2 ** 32 - 2;

/** Places that all processes of a driver share. */
export interface SandboxHome {
  readonly dir: string;
  readonly mountPoint: string;
  readonly stubs: StubLayers;
}

/** In a directory of the caller's, who removes it. */
export function makeHome(scratchDir: string): SandboxHome {
  try {
    const dir = mkdtempSync(join(scratchDir, "sandbox-"));
    const mountPoint = join(dir, "root");
    mkdirSync(mountPoint);
    return { dir, mountPoint, stubs: stubLayers(dir) };
  } catch (error) {
    throw ioError("make a directory in", scratchDir, error);
  }
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
  for (const { target } of plan.devices) checkDeviceTarget(target, target);
  for (const { target } of plan.mounts) {
    if (isSystemPlace(target))
      throw new CooperError(
        "usage",
        `cannot mount on ${target}: the root, /proc, /sys and /dev are the sandbox's own`,
      );
  }
}

/** What a process is started in and by. */
export interface StartingPoint {
  readonly userNamespace: boolean;
  /** The process's own, if any. */
  readonly ownNamespace: HelperIdMapping | undefined;
  readonly cgroup: ProcessCgroup;
  /** null: the helper itself. */
  readonly runtime: OciRuntime | null;
}

/** What the helper is told. Throws `usage` and `unsupported` for a plan that cannot be carried out. */
export function helperPlan(
  plan: SandboxPlan,
  home: SandboxHome,
  { userNamespace, ownNamespace, cgroup, runtime }: StartingPoint,
): HelperPlan {
  const { rootfs, stdin } = plan;
  const { capabilities, noNewPrivileges, kernelFiles } = plan.security;
  if (rootfs.kind !== "overlay") throw new Error("this driver mounts overlays");
  return {
    type: "plan",
    lowerDirs: home.stubs.around(rootfs.lowerDirs, [
      ...plan.mounts.flatMap(placesOf),
      ...plan.devices.filter(({ target }) => !isSystemPlace(target)).map(stubOf),
    ]),
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
    devices: plan.devices.map(deviceForHelper),
    stdin: typeof stdin === "string" ? stdin : "bytes",
    stdinBytes: typeof stdin === "string" ? 0 : stdin.length,
    stdio: plan.stdio,
    terminal: terminalSize(),
    security: { capabilities, noNewPrivileges, kernelFiles },
    filter: filterOf(plan.security),
    ulimits: ulimitsOf(plan, userNamespace && cgroup.withoutPids !== undefined),
    cgroups: cgroup.entries,
    shmBytes: plan.limits.shmBytes,
    userNamespace,
    idMapping: ownNamespace ?? null,
    runtime: runtime === null ? null : { ...runtime, seccomp: seccompJson(plan.security) },
  };
}

/**
 * Without a cgroup the kernel still counts a user's processes, and inside a user namespace only those in it; root outside
 * of one is not held by that.
 */
function ulimitsOf({ limits }: SandboxPlan, countsProcesses: boolean): HelperPlan["ulimits"] {
  const { ulimits, pids } = limits;
  const isGiven = !countsProcesses || ulimits.some(({ name }) => name === "nproc");
  const all = isGiven ? ulimits : [...ulimits, lowered("nproc", pids.limit)];
  return all.map((limit) => ({ ...limit, resource: resourceNumber(limit.name) }));
}

/** A secret travels with the plan over the helper's own channel, never in arguments or the environment. */
export function forHelper(mount: SandboxMount): HelperMount {
  if (mount.type !== "secret") return mount;
  const { content, ...rest } = mount;
  return { ...rest, base64: Buffer.from(content).toString("base64") };
}

function stubOf({ target }: SandboxDevice): MountPlace {
  return { target, kind: "file" };
}

/** What the helper must find there, too. */
function deviceForHelper({ source, target }: SandboxDevice): HelperDevice {
  const { kind, number } = lookAtDevice(source);
  return { source, target, kind, number };
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
