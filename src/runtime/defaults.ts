import { DEFAULT_CAPABILITIES } from "./capabilities.js";
import type { SandboxLimits, SandboxSecurity } from "./types.js";

/** What every process may do unless told otherwise. */
export const DEFAULT_SECURITY: SandboxSecurity = {
  capabilities: DEFAULT_CAPABILITIES,
  seccomp: { kind: "default" },
  noNewPrivileges: false,
  kernelFiles: "guarded",
  userNamespace: "shared",
};

/** Of a user namespace: all that distributions' packages use, the one for nobody (65534) included. */
export const USUAL_IDS = 65536;

const MEBIBYTE = 1024 * 1024;

/** What every process may use unless told otherwise: /dev/shm as in docker and podman, as many processes as any build needs. */
export const DEFAULT_LIMITS: SandboxLimits = {
  pids: { limit: 4096, asked: false },
  ulimits: [],
  shmBytes: 64 * MEBIBYTE,
};
