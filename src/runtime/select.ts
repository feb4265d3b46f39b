import { CooperError } from "../errors.js";
import { openChrootSandbox } from "./chroot-sandbox.js";
import { traitsOf } from "./drivers.js";
import type { DriverName } from "./drivers.js";
import { findRuntime } from "./oci-runtime.js";
import { PATIENCE_MS, probe } from "./probe.js";
import type { ProbedDriver } from "./probe.js";
import { openOciSandbox, openSandbox } from "./sandbox.js";
import type { SandboxOptions } from "./sandbox.js";
import type { Sandbox } from "./types.js";
import type { Verdict, Verdicts } from "./verdicts.js";
import { verdictOf } from "./verdicts.js";

/** What the user wants; `auto` takes the first that works. */
export interface DriverRequest {
  readonly isolation: "auto" | DriverName;
  /** Name or absolute path of an OCI runtime; undefined: whichever is there. */
  readonly runtime: string | undefined;
}

/** A driver, and why none before it on the ladder can be had. */
export interface DriverChoice {
  readonly driver: DriverName;
  readonly runtime: string | undefined;
  readonly skipped: readonly { readonly driver: DriverName; readonly reason: string }[];
  /** That it works was not tried now, but found out before. */
  readonly isRemembered: boolean;
}

/** From the most that can be had to the least. */
export const LADDER: readonly DriverName[] = ["native", "oci", "chroot"];

/** The sandbox of a driver. */
export function openDriver(
  { driver, runtime }: Pick<DriverChoice, "driver" | "runtime">,
  options: SandboxOptions,
): Sandbox {
  return driverOf(driver, runtime).open(options);
}

function driverOf(driver: DriverName, runtime: string | undefined): ProbedDriver {
  const { rootfs } = traitsOf(driver);
  switch (driver) {
    case "native":
      return { open: openSandbox, rootfs };
    case "oci":
      return {
        open: (options) => openOciSandbox({ ...options, runtime: findRuntime(runtime) }),
        rootfs,
      };
    case "chroot":
      return { open: openChrootSandbox, rootfs };
  }
}

/**
 * The first driver of the ladder that works, or the one that was asked for. Each is tried for real once (100 ms), then
 * its verdict is remembered. Throws `sandbox` with every refusal when none works.
 */
export async function selectDriver(
  request: DriverRequest,
  options: SandboxOptions,
  verdicts: Verdicts,
): Promise<DriverChoice> {
  const { isolation, runtime } = request;
  const wanted = isolation === "auto" ? LADDER : [isolation];
  const skipped: { readonly driver: DriverName; readonly reason: string; readonly hint?: string }[] = [];
  for (const driver of wanted) {
    const remembered = verdicts.recall(nameOf(driver, runtime));
    // Whoever insists on a driver may just have made it possible.
    const isTrusted = remembered !== undefined && (remembered.works || isolation === "auto");
    const verdict = isTrusted ? remembered : await tryDriver(driver, runtime, options, verdicts);
    if (verdict.works) return { driver, runtime, skipped, isRemembered: isTrusted };
    const { message: reason, hint } = verdict;
    skipped.push({ driver, reason, ...(hint === undefined ? {} : { hint }) });
  }
  const [first] = skipped;
  const hint = skipped.find((each) => each.hint !== undefined)?.hint;
  const message =
    isolation === "auto"
      ? `nothing here can isolate a process: ${skipped.map(({ driver, reason }) => `${driver}: ${reason}`).join("; ")}`
      : `isolation "${isolation}" does not work here: ${first?.reason ?? ""}`;
  throw new CooperError("sandbox", message, hint === undefined ? {} : { hint });
}

/** What the user reads once, before the first process, when that is not kept apart as well as can be. Undefined when it is. */
export function describeChoice({ driver, runtime, skipped }: DriverChoice): string | undefined {
  const { shares } = traitsOf(driver);
  if (skipped.length === 0 && shares === undefined) return undefined;
  const name = runtime === undefined ? driver : `${driver} (${runtime})`;
  const reasons = skipped.map((each) => `${each.driver} does not work: ${each.reason}`);
  const why = reasons.length === 0 ? "" : `, since ${reasons.join("; ")}`;
  return `isolation: ${name}${why}${shares === undefined ? "" : `; ${shares}`}`;
}

/** Tries a driver now, whatever is remembered. That it was too slow for less than the usual patience is not remembered. */
export async function tryDriver(
  driver: DriverName,
  runtime: string | undefined,
  options: SandboxOptions,
  verdicts: Verdicts,
  patienceMs = PATIENCE_MS,
): Promise<Verdict> {
  const { refusal, timedOut } = await probe(options, driverOf(driver, runtime), patienceMs);
  const verdict = verdictOf(refusal);
  if (!timedOut || patienceMs >= PATIENCE_MS) verdicts.remember(nameOf(driver, runtime), verdict);
  return verdict;
}

function nameOf(driver: DriverName, runtime: string | undefined): string {
  return driver === "oci" && runtime !== undefined ? `oci ${runtime}` : driver;
}
