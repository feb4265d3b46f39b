/**
 * What `cooper doctor` looks at and tries. Each check does for real what a build would do, in a process and namespaces of
 * its own, is over within some seconds, and leaves nothing behind. None guesses from versions.
 */
export { checkCgroups } from "./cgroups.js";
export { GROUPS } from "./check.js";
export type { Check } from "./check.js";
export { checkDrivers, refusedDrivers } from "./drivers.js";
export type { DriverCheck } from "./drivers.js";
export { checkSystem, readOwnRights } from "./facts.js";
export type { OwnRights } from "./facts.js";
export { checkIds, checkOwnNamespace } from "./ids.js";
export { checkNamespaces, checkUserNamespace } from "./namespaces.js";
export { checkNetwork } from "./network.js";
export { checkOverlay } from "./overlay.js";
export { checkEmulation, checkRuntimes } from "./programs.js";
export { checkStore } from "./store.js";
