// What BuildKit made of a case, kept beside it as buildkit.json: one line for each path.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Case } from "./cases.js";
import type { Seen } from "./differences.js";
import type { Attributes, ImageFacts } from "./types.js";

type RecordFile = { readonly rejected: string } | ImageFacts;

const NAME = "buildkit.json";

/** What was recorded, or undefined. */
export function readRecord({ dir }: Case): Seen | undefined {
  const path = join(dir, NAME);
  if (!existsSync(path)) return undefined;
  const file = JSON.parse(readFileSync(path, "utf8")) as RecordFile;
  return "rejected" in file
    ? { kind: "rejected", message: file.rejected }
    : { kind: "built", facts: { tree: file.tree, config: file.config } };
}

/** A broken image leaves no record. */
export function writeRecord({ dir }: Case, seen: Seen): void {
  if (seen.kind === "broken") return;
  const text =
    seen.kind === "built"
      ? `{\n  "config": ${lines(seen.facts.config)},\n  "tree": ${lines(seen.facts.tree)}\n}`
      : JSON.stringify({ rejected: withoutIds(seen.message) }, undefined, 2);
  writeFileSync(join(dir, NAME), `${text}\n`);
}

function lines(facts: Readonly<Record<string, string | Attributes>>): string {
  const entries = Object.entries(facts).toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return "{}";
  const rows = entries.map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  return `{\n${rows.join(",\n")}\n  }`;
}

/** Messages name references and mounts that are other ones in every run. */
function withoutIds(message: string): string {
  return message
    .replace(/ of ref \S+/, "")
    .replace(/^failed to solve: /, "")
    .replace(/\/\S+\/merged(?=\/)/, "");
}
