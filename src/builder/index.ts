/**
 * builder/ turns a parsed Containerfile into an image: it plans (pure), asks the cache, and only then lets the
 * workshops do work. It is the only room that knows them all, and it gets them as interfaces.
 *
 * Invariants: nothing outside is touched before the plan stands and everything it names has been found; what this
 * version cannot do is refused before the first step; a step's image is a pure function of the image before it, the
 * instruction and the step's layer, so a cached step and a built one give the same image; a record is written after
 * the image it points to.
 *
 * It never mounts, spawns, or speaks to a registry itself, and it prints nothing: it emits events.
 */
export { runPlan } from "./build.js";
export type { BuildRun, BuiltImage } from "./build.js";
export type { ContainerfileLocation, ContainerfileText } from "./containerfile.js";
export { DEFAULT_NAMES, MAX_CONTAINERFILE, parseCached, readContainerfile } from "./containerfile.js";
export type { ParsedContainerfile } from "./containerfile.js";
export type { BuildEngine, DriverOutlook, OnFailure, OpenVolumes } from "./engine.js";
export { problemsOf } from "./problems.js";
export { HOST_GATEWAY, networkFiles } from "./network-files.js";
export { contextName } from "./origins.js";
export type { NamedContext } from "./origins.js";
export { makePlan } from "./plan.js";
export type { BuildPlan } from "./plan.js";
export { refuseUnserved } from "./preflight.js";
export { noticeOfProxies } from "./proxy-notice.js";
export { DEFAULT_PATH, envOf, workdirOf } from "./state.js";
export { ENTITLEMENTS } from "./run-settings.js";
export type { Entitlement, HostEntry, NetworkSettings, RunSettings, StepNetwork } from "./run-settings.js";
export { refuseRelabelling } from "./selinux.js";
export { EPOCH_ARG, imageTimes, withTimes } from "./times.js";
export type { ImageTimes } from "./times.js";
export { resolveUser } from "./users.js";
