import type { RunSettings } from "../builder/index.js";
import type { IsolationOptions } from "../cooper.js";
import { CooperError } from "../errors.js";
import type { SandboxLimits, SandboxSecurity } from "../runtime/index.js";
import {
  DEFAULT_LIMITS,
  DEFAULT_SECURITY,
  USUAL_IDS,
  checkSeccomp,
  checkedUlimits,
  mergeCapabilities,
  ownCapabilities,
  ownUserNamespace,
  parseDevices,
} from "../runtime/index.js";
import { networkSettings } from "./network-settings.js";

/**
 * What the processes of a build or container may do and use, every default filled in. `privileged`: whether this process
 * is the one that starts them; another does not know which rights that one has. Throws `usage`, `unsupported`, `not-found`,
 * and `sandbox` for what cannot be had here.
 */
export function runSettings(options: IsolationOptions, privileged: boolean): RunSettings {
  return {
    security: securityOf(options, privileged),
    limits: limitsOf(options),
    devices: parseDevices(options.devices ?? []),
    network: networkSettings(options),
  };
}

/** What its processes have for themselves; the caller disposes it when they have ended. */
export function ownIds({ security }: RunSettings): AsyncDisposable | undefined {
  return security.userNamespace === "shared" ? undefined : security.userNamespace;
}

const MOST_IDS = 2 ** 32 - 1;

function userNamespaceOf(userns: IsolationOptions["userns"] = "host"): SandboxSecurity["userNamespace"] {
  if (userns === "host") return "shared";
  const size = userns === "auto" ? USUAL_IDS : userns.size;
  if (!Number.isSafeInteger(size) || size < 1 || size > MOST_IDS)
    throw new CooperError("usage", `a user namespace cannot have ${size} ids`);
  return ownUserNamespace(size);
}

function securityOf(options: IsolationOptions, privileged: boolean): SandboxSecurity {
  const { capAdd = [], capDrop = [] } = options;
  const capabilities =
    capAdd.length + capDrop.length === 0
      ? DEFAULT_SECURITY.capabilities
      : mergeCapabilities(capAdd, capDrop, privileged ? ownCapabilities() : undefined);
  const { seccomp } = options;
  const security: SandboxSecurity = {
    ...DEFAULT_SECURITY,
    capabilities,
    userNamespace: userNamespaceOf(options.userns),
    noNewPrivileges: options.noNewPrivileges === true,
    ...(seccomp === undefined
      ? {}
      : { seccomp: seccomp === "unconfined" ? { kind: seccomp } : { kind: "profile", ...seccomp } }),
  };
  checkSeccomp(security);
  return security;
}

function limitsOf(options: IsolationOptions): SandboxLimits {
  const { ulimits = [], shmBytes, cpus, pidsLimit } = options;
  if (cpus !== undefined && cpus !== 0 && !(cpus >= LEAST_CPUS && Number.isFinite(cpus)))
    throw new CooperError("usage", `the number of processors cannot be ${cpus}`);
  const pids = wholeNumber("the limit of processes", pidsLimit, -1);
  return {
    ...DEFAULT_LIMITS,
    ...memoryOf(options),
    ...(cpus === undefined || cpus === 0 ? {} : { cpus }),
    ...(pids === undefined ? {} : { pids: { limit: Math.max(pids, 0), asked: true } }),
    ulimits: checkedUlimits(ulimits),
    shmBytes: wholeNumber("the size of /dev/shm", shmBytes, 0) ?? DEFAULT_LIMITS.shmBytes,
  };
}

/** The kernel's shortest quota is a millisecond in a hundred. */
const LEAST_CPUS = 0.01;

function memoryOf(options: IsolationOptions): Pick<SandboxLimits, "memoryBytes" | "memorySwapBytes"> {
  const memory = wholeNumber("the memory limit", options.memoryBytes, 0) ?? 0;
  const swap = wholeNumber("the limit of memory and swap", options.memorySwapBytes, -1);
  if (memory === 0 && swap !== undefined && swap !== 0)
    throw new CooperError("usage", "a limit of memory and swap needs a memory limit beside it");
  if (memory === 0) return {};
  if (swap === undefined || swap === 0) return { memoryBytes: memory };
  if (swap !== -1 && swap < memory) {
    throw new CooperError(
      "usage",
      `the limit of memory and swap together (${swap} bytes) is below that of the memory (${memory} bytes)`,
    );
  }
  return { memoryBytes: memory, memorySwapBytes: swap };
}

function wholeNumber(what: string, value: number | undefined, least: number): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return value;
  throw new CooperError("usage", `${what} cannot be ${value}`);
}
