import { dirname, join } from "node:path";
import { CooperError, hasCode } from "../errors.js";
import { traitsOf } from "./drivers.js";
import type { Need } from "./drivers.js";
import { startTidyHelper } from "./helper.js";
import type { Helper } from "./helper.js";
import type { ChrootPlan } from "./helper-plan.js";
import { forHelper, refuseImpossible } from "./plan-request.js";
import { abortedError, retire, runIn, takeAlive } from "./sandbox.js";
import type { SandboxOptions } from "./sandbox.js";
import type { Sandbox, SandboxPlan, SandboxRootfs } from "./types.js";
import { resourceNumber } from "./ulimits.js";

/** The file of the helper, beside that of the native one. */
const CHILD = "chroot-child.cjs";

/**
 * The driver for where nothing may be mounted: the process runs in a directory, chroot(2)ed, among the other processes
 * of the machine. Needs CAP_SYS_CHROOT, CAP_SETPCAP and the rights to give files away, as root has in any container.
 */
export function openChrootSandbox(options: SandboxOptions): Sandbox {
  const idle: Helper[] = [];
  const all = new Set<Helper>();
  const start = (): Helper => {
    const helper = startTidyHelper(join(dirname(options.childPath), CHILD), options.scratchDir);
    all.add(helper);
    return helper;
  };
  return {
    driver: "chroot",
    prewarm: () => {
      if (all.size === 0) idle.push(start());
    },
    run: async (plan, runOptions) => {
      if (runOptions.signal.aborted) throw abortedError();
      refuseImpossible(plan);
      refuseUnavailable(plan);
      const { rootfs } = plan;
      if (rootfs.kind !== "directory") throw new Error("the chroot driver runs processes in directories");
      const request = chrootPlan(plan, rootfs.dir, options.userNamespace);
      const helper = takeAlive(idle, all) ?? start();
      helper.hold(true);
      try {
        return await runIn(telling(helper, rootfs), request, plan, runOptions);
      } catch (error) {
        if (!helper.alive && !runOptions.signal.aborted) await rescue(start(), rootfs.dir, all);
        throw error;
      } finally {
        helper.hold(false);
        // One that was told to stop has not answered yet: the next process starts with another.
        if (helper.alive && !runOptions.signal.aborted) idle.push(helper);
        else await retire(helper, all);
      }
    },
    [Symbol.asyncDispose]: async () => {
      idle.length = 0;
      await Promise.all([...all].map((helper) => retire(helper, all)));
    },
  };
}

/** After a helper that was killed, which had lent things to a root file system. What fails here is no news beside that. */
async function rescue(helper: Helper, dir: string, all: Set<Helper>): Promise<void> {
  helper.hold(true);
  try {
    await helper.next();
    helper.send({ type: "rescue", dir });
    await helper.next();
  } catch (error) {
    if (!hasCode(error, "sandbox")) throw error;
  } finally {
    await retire(helper, all);
  }
}

/** The builder refuses these with their place, before the first step; this guards against all of its callers. */
function refuseUnavailable(plan: SandboxPlan): void {
  const { limits, security } = plan;
  const asked: readonly (readonly [Need["kind"], string, boolean])[] = [
    ["network-none", "a network of its own", plan.network !== "host"],
    ["device", "a device", plan.devices.length > 0],
    ["limit", "--memory", limits.memoryBytes !== undefined],
    ["limit", "--cpus", limits.cpus !== undefined],
    ["limit", "--pids-limit", limits.pids.asked && limits.pids.limit > 0],
    ["insecure", "--security=insecure", security.kernelFiles === "open"],
    ["userns", "a user namespace of its own", security.userNamespace !== "shared"],
    ["seccomp", "a seccomp profile", security.seccomp.kind === "profile"],
    ["terminal", "--tty", plan.stdio === "tty"],
    [
      "tmpfs-size",
      "a size of a tmpfs",
      plan.mounts.some((m) => m.type === "tmpfs" && m.sizeBytes !== undefined),
    ],
    [
      "volume-rw",
      "a writable volume",
      plan.mounts.some((m) => m.type === "bind" && !m.readOnly && m.movable !== true),
    ],
  ];
  for (const [kind, what, is] of asked) {
    const reason = is ? traitsOf("chroot").refuses({ kind, what }) : undefined;
    if (reason !== undefined)
      throw new CooperError("unsupported", `isolation "chroot" cannot do this: ${reason}`);
  }
}

function chrootPlan(plan: SandboxPlan, dir: string, userNamespace: boolean): ChrootPlan {
  const { stdin } = plan;
  const { seccomp: _, ...security } = plan.security;
  return {
    type: "chroot",
    dir,
    argv: plan.argv,
    env: Object.entries(plan.env).map(([name, value]) => `${name}=${value}`),
    cwd: plan.cwd,
    uid: plan.uid,
    gid: plan.gid,
    groups: [...new Set([plan.gid, ...plan.groups])],
    mounts: plan.mounts.map(forHelper),
    stdin: typeof stdin === "string" ? stdin : "bytes",
    stdinBytes: typeof stdin === "string" ? 0 : stdin.length,
    stdio: plan.stdio,
    security,
    ulimits: plan.limits.ulimits.map((limit) => ({ ...limit, resource: resourceNumber(limit.name) })),
    userNamespace,
  };
}

/** The same helper; what it put back is told to the owner of the root file system. */
function telling(helper: Helper, rootfs: Extract<SandboxRootfs, { readonly kind: "directory" }>): Helper {
  return {
    ...helper,
    get alive() {
      return helper.alive;
    },
    next: async () => {
      const message = await helper.next();
      if (message.type === "exit") rootfs.restored(message.restored ?? []);
      return message;
    },
  };
}
