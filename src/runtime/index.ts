/**
 * runtime/ runs one process over a root file system, apart from everything else on the machine, and is the only room
 * that asks the kernel for what Node cannot (through koffi, in syscalls.ts alone).
 * Invariants: when `run` returns or throws, no process of it is left, and no mount was ever visible outside of it; the
 * process gets the plan's environment and descriptors 0-2, nothing else of ours; nothing that we mount leaves a trace in
 * the upper directory; no path of an image is resolved outside of that image. The kernel upholds these when we die, too.
 * A command is process 1 in namespaces pid, mount, ipc, uts, cgroup and (by choice) net, with podman's eleven
 * capabilities, moby's closed system calls, both tools' masked paths, no_new_privs off (sudo and su work), umask 022,
 * at most 65536 open files and no core dumps. Hard limits are never raised.
 * It refuses: to mount on or in /proc, /sys, /dev, to weaken any of the above silently when the kernel will not grant it,
 * and to know what an image or a build is.
 */
export * from "./types.js";
export { openChrootSandbox } from "./chroot-sandbox.js";
export { CAPABILITIES, DEFAULT_CAPABILITIES } from "./capabilities.js";
export { mergeCapabilities, ownCapabilities } from "./capability-choice.js";
export { DEFAULT_LIMITS, DEFAULT_SECURITY, USUAL_IDS } from "./defaults.js";
export { narrowedDevices, parseDevices } from "./device-request.js";
export { traitsOf } from "./drivers.js";
export type { DriverName, DriverTraits, Need } from "./drivers.js";
export { canRun } from "./emulation.js";
export { probe } from "./probe.js";
export type { ProbeResult } from "./probe.js";
export { privateNetwork } from "./network.js";
export type { NetworkOutcome, PrivateNetwork } from "./network.js";
export { mayChroot, readRights } from "./rights.js";
export type { Rights } from "./rights.js";
export { namespaceRefusal, planRootless, startRootless } from "./rootless.js";
export type { IdMap, RootlessPlan } from "./rootless.js";
export { findRuntime } from "./oci-runtime.js";
export type { OciRuntime } from "./oci-runtime.js";
export { openOciSandbox, openSandbox } from "./sandbox.js";
export { filterOf as checkSeccomp } from "./seccomp-filter.js";
export type { SandboxOptions } from "./sandbox.js";
export { isSystemPlace } from "./stubs.js";
export { describeChoice, openDriver, selectDriver } from "./select.js";
export type { DriverChoice, DriverRequest } from "./select.js";
export { checkLimits } from "./cgroup.js";
export { ownUserNamespace } from "./user-namespace.js";
export { memoryText } from "./cgroup-settings.js";
export { checkedUlimits } from "./ulimits.js";
export { readXattrs, treeSyscalls } from "./tree-syscalls.js";
export { openVerdicts } from "./verdicts.js";
export type { Verdict, Verdicts } from "./verdicts.js";
