import { existsSync, readFileSync } from "node:fs";
import type { Platform } from "../../src/image/index.js";
import type { LintFacts } from "../../src/lint/index.js";
import { applyFixes, lint } from "../../src/lint/index.js";
import { parse } from "../../src/parser/index.js";
import type { Diagnostic } from "../../src/source.js";

/** Fixtures must say the same on every machine. */
const platform: Platform = { os: "linux", architecture: "amd64" };

interface GivenFacts {
  readonly buildArgs?: Readonly<Record<string, string>>;
  readonly bases?: Readonly<
    Record<string, { readonly platform: Platform; readonly env: Readonly<Record<string, string>> }>
  >;
  readonly ignored?: readonly string[];
}

export const noFacts: LintFacts = { platform };

/** What `facts.json` of a fixture says; nothing is known without one. */
export function factsOf(dir: string): LintFacts {
  const path = `${dir}/facts.json`;
  if (!existsSync(path)) return noFacts;
  const { buildArgs = {}, bases = {}, ignored } = JSON.parse(readFileSync(path, "utf8")) as GivenFacts;
  return {
    platform,
    buildArgs: new Map(Object.entries(buildArgs)),
    base: (name) => {
      const base = bases[name];
      return base && { platform: base.platform, env: new Map(Object.entries(base.env)), hasShell: false };
    },
    ...(ignored ? { ignores: (path) => ignored.includes(path) } : {}),
  };
}

export async function findings(text: string, facts: LintFacts): Promise<readonly Diagnostic[]> {
  const source = { name: "Containerfile", text };
  return lint(source, await parse(source), facts);
}

/** The text after every fix, and after every fix that this makes possible. */
export async function fixed(text: string, facts: LintFacts): Promise<string> {
  const next = applyFixes(text, await findings(text, facts));
  return next.fixed.length === 0 ? text : fixed(next.text, facts);
}
