import type { RunSettings } from "../builder/index.js";
import type { IsolationOptions } from "../cooper.js";
import { CooperError } from "../errors.js";
import type { SandboxLimits, SandboxSecurity } from "../runtime/index.js";
import {
  DEFAULT_LIMITS,
  DEFAULT_SECURITY,
  checkSeccomp,
  checkedUlimits,
  mergeCapabilities,
  ownCapabilities,
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
    devices: [],
    network: networkSettings(options),
  };
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
    noNewPrivileges: options.noNewPrivileges === true,
    ...(seccomp === undefined
      ? {}
      : { seccomp: seccomp === "unconfined" ? { kind: seccomp } : { kind: "profile", ...seccomp } }),
  };
  checkSeccomp(security);
  return security;
}

function limitsOf({ ulimits = [], shmBytes }: IsolationOptions): SandboxLimits {
  return {
    ...DEFAULT_LIMITS,
    ulimits: checkedUlimits(ulimits),
    shmBytes: wholeNumber("the size of /dev/shm", shmBytes, 0) ?? DEFAULT_LIMITS.shmBytes,
  };
}

function wholeNumber(what: string, value: number | undefined, least: number): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return value;
  throw new CooperError("usage", `${what} cannot be ${value}`);
}
