import type { DriverOutlook, RunSettings } from "../builder/index.js";
import type { BuildOptions, IsolationOptions } from "../cooper.js";
import type { Need } from "../runtime/index.js";
import type { Isolation } from "./isolation.js";
import { requestOf } from "./isolation.js";
import type { Volume } from "./volumes.js";
import type { Workshop } from "./workshop.js";
import { inUserNamespace } from "./workshop.js";

interface Asked {
  readonly settings: RunSettings;
  readonly volumes: readonly Volume[];
}

/** Of a build or a container. */
type Options = IsolationOptions & Pick<BuildOptions, "onFailure">;

/** What can be known of the driver before anything is made; undefined in a process that has no rights to try one. */
export function outlookOf(
  workshop: Workshop,
  isolation: Isolation,
  options: Options,
  asked: Asked,
): DriverOutlook | undefined {
  if (!workshop.privileged) return undefined;
  return {
    needs: needsOf(options, asked),
    insists: requestOf(options).isolation !== "auto",
    driver: isolation.driver,
    checkSettings: async () => {
      const { checkLimits, narrowedDevices } = await import("../runtime/index.js");
      const { limits, security } = asked.settings;
      await checkLimits(limits, narrowedDevices(asked.settings), inUserNamespace());
      if (security.userNamespace !== "shared") await security.userNamespace.open(workshop.sandboxOptions());
    },
  };
}

/** In the words of the command. What every driver has, such as `--ulimit`, is not among them. */
function needsOf({ capAdd = [], onFailure, shmBytes }: Options, asked: Asked): readonly Need[] {
  const { settings, volumes } = asked;
  const { limits, security } = settings;
  const needs: readonly (readonly [Need["kind"], string, boolean])[] = [
    ["limit", "--memory", limits.memoryBytes !== undefined],
    ["limit", "--cpus", limits.cpus !== undefined],
    ["limit", "--pids-limit", limits.pids.asked && limits.pids.limit > 0],
    ["shm-size", "--shm-size", shmBytes !== undefined],
    ["userns", "a user namespace of its own", security.userNamespace !== "shared"],
    ["seccomp", "a seccomp profile", security.seccomp.kind === "profile"],
    ["capability", "CAP_SYS_CHROOT", capAdd.some(isChroot)],
    ["terminal", "--on-failure=shell", onFailure === "shell"],
    ...settings.devices.map(({ source }) => ["device", `--device ${source}`, true] as const),
    ...volumes.map(
      ({ source, target, readOnly, overlay }) =>
        ["volume-rw", `-v ${source}:${target}`, !readOnly && !overlay] as const,
    ),
  ];
  return needs.flatMap(([kind, what, is]) => (is ? [{ kind, what }] : []));
}

function isChroot(capabilities: string): boolean {
  return capabilities.split(",").some((name) => /^(cap_)?sys_chroot$/i.test(name.trim()));
}
