import { readFileSync } from "node:fs";
import { CooperError } from "../errors.js";
import { CAPABILITIES, DEFAULT_CAPABILITIES, isCapability } from "./capabilities.js";

/**
 * The set after `--cap-add` and `--cap-drop`, in podman's order: dropping ALL leaves what is added, adding ALL starts from
 * everything that `available` has. Names are taken in any case, with or without `CAP_`. Throws `usage` for unknown names
 * and contradictions, `sandbox` for an added one that is not available, since cooper cannot give what it has not.
 */
export function mergeCapabilities(
  added: readonly string[],
  dropped: readonly string[],
  available: readonly string[] = CAPABILITIES,
): readonly string[] {
  const [adds, drops] = [added.map(normalized), dropped.map(normalized)];
  const twice = adds.find((name) => drops.includes(name));
  if (twice !== undefined)
    throw new CooperError("usage", `the capability ${twice} cannot be added and dropped at once`);
  const named = adds.filter((name) => name !== ALL);
  const missing = named.find((name) => !available.includes(name));
  if (missing !== undefined) {
    throw new CooperError("sandbox", `cannot add ${missing}: cooper itself does not have it here`, {
      hint: `what starts cooper must have it: inside a container --privileged or --cap-add ${missing} there`,
    });
  }
  if (drops.includes(ALL)) return sorted(named);
  const base = adds.includes(ALL) ? available : [...DEFAULT_CAPABILITIES, ...named];
  return sorted(base.filter((name) => !drops.includes(name)));
}

const ALL = "ALL";

function normalized(text: string): string {
  const upper = text.trim().toUpperCase();
  if (upper === ALL || isCapability(upper)) return upper;
  if (isCapability(`CAP_${upper}`)) return `CAP_${upper}`;
  const near = CAPABILITIES.find((name) => upper.length > 3 && name.includes(upper.replace(/^CAP_/, "")));
  throw new CooperError(
    "usage",
    `unknown capability "${text}"`,
    near === undefined ? { hint: "capabilities(7) lists them" } : { hint: `did you mean ${near}?` },
  );
}

function sorted(names: readonly string[]): readonly string[] {
  return CAPABILITIES.filter((name) => names.includes(name));
}

/** What this process may give away: its permitted set. */
export function ownCapabilities(): readonly string[] {
  const permitted = /^CapPrm:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  const mask = BigInt(`0x${permitted}`);
  return CAPABILITIES.filter((_, number) => (mask >> BigInt(number)) & 1n);
}
