import type { Attributes } from "./types.js";

/** Kept as one value each, in the order that the config has. */
const WHOLE = ["Cmd", "Entrypoint", "OnBuild", "Shell", "StopSignal", "User", "WorkingDir"] as const;
/** Sets: the keys are what counts. */
const SETS = ["ExposedPorts", "Volumes"] as const;

/** An image's `config` object as facts: `Env.PATH`, `Labels.x`, `Cmd`, … What is empty is as if it were not there. */
export function flattenConfig(config: object): Attributes {
  const value = (name: string): unknown => (config as Readonly<Record<string, unknown>>)[name];
  const found: [string, string][] = [];
  const add = (name: string, fact: unknown): void => {
    if (fact === undefined || fact === null || fact === "" || fact === 0) return;
    if (typeof fact === "object" && Object.keys(fact).length === 0) return;
    found.push([name, typeof fact === "string" ? fact : JSON.stringify(fact)]);
  };
  for (const name of WHOLE) add(name, value(name));
  for (const name of SETS) add(name, Object.keys(value(name) ?? {}).toSorted());
  for (const pair of (value("Env") ?? []) as readonly string[]) {
    const at = pair.indexOf("=");
    found.push([`Env.${pair.slice(0, at)}`, pair.slice(at + 1)]);
  }
  for (const [name, text] of Object.entries(value("Labels") ?? {}))
    found.push([`Labels.${name}`, String(text)]);
  for (const [name, part] of Object.entries(value("Healthcheck") ?? {})) add(`Healthcheck.${name}`, part);
  return Object.fromEntries(found.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
