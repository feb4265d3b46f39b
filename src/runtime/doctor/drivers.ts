import type { DriverName } from "../drivers.js";
import { LADDER, tryDriver } from "../select.js";
import type { SandboxOptions } from "../sandbox.js";
import type { Verdict, Verdicts } from "../verdicts.js";
import { rootAdvice } from "./advice.js";
import type { Check } from "./check.js";
import { refusedBy } from "./check.js";
import type { OwnRights } from "./facts.js";

/** What came of starting a process by a driver. */
export interface DriverCheck extends Omit<Check, "name" | "group" | "ok"> {
  readonly name: DriverName;
  readonly ok: boolean;
}

/** Twice what everything else gets: a driver does a dozen things. */
const PATIENCE_MS = 10_000;

/** Starts a process by each driver, and remembers what came of it instead of what was remembered. */
export async function checkDrivers(
  options: SandboxOptions,
  verdicts: Verdicts,
  rights: OwnRights,
): Promise<readonly DriverCheck[]> {
  const checks: DriverCheck[] = [];
  for (const name of LADDER) {
    const verdict = await tryDriver(name, undefined, options, verdicts, PATIENCE_MS);
    checks.push(driverCheck(name, verdict, rights));
  }
  return checks;
}

/** Where not even the process could be started that would try them. */
export function refusedDrivers(
  verdict: Verdict & { readonly works: false },
  rights: OwnRights,
): readonly DriverCheck[] {
  return LADDER.map((name) => driverCheck(name, verdict, rights));
}

function driverCheck(name: DriverName, verdict: Verdict, rights: OwnRights): DriverCheck {
  if (verdict.works) return { name, ok: true, found: "works" };
  const refused = refusedBy(verdict.message);
  const isDenied = refused.errno === "EPERM" || refused.errno === "EACCES";
  const advice = isDenied && rights.isRoot ? rootAdvice(rights) : verdict.hint;
  return { name, ok: false, ...refused, ...(advice === undefined ? {} : { advice }) };
}
