import { problemsOf } from "../builder/index.js";
import type { CheckOptions } from "../cooper.js";
import { hostPlatform } from "../image/index.js";
import type { LintFacts } from "../lint/index.js";
import { lint } from "../lint/index.js";
import type { Containerfile } from "../parser/index.js";
import { analyze } from "../parser/index.js";
import type { Diagnostic, SourceText } from "../source.js";

/**
 * Everything that can be known of a Containerfile's text alone, in the order of the text: what does not parse, what a build
 * would refuse, and what lint finds. Rules about a stage's work are silent in a file that does not parse. Never throws for
 * what is in the text. The first call loads the grammar (some 100 ms).
 */
export async function check(text: string, options: CheckOptions = {}): Promise<readonly Diagnostic[]> {
  const buildArgs = new Map(Object.entries(options.buildArgs ?? {}));
  return checkSource(
    { name: options.name ?? "Containerfile", text },
    { buildArgs, platform: hostPlatform() },
  );
}

/** `check` of a source, with what else is known. */
export async function checkSource(source: SourceText, facts: LintFacts): Promise<readonly Diagnostic[]> {
  const { file, diagnostics } = await analyze(source);
  if (diagnostics.some(({ severity }) => severity === "error")) return diagnostics;
  // Without errors there are no INVALID instructions.
  const whole: Containerfile = {
    ...file,
    instructions: file.instructions.filter((instruction) => instruction.kind !== "INVALID"),
    warnings: [],
  };
  const found = [...diagnostics, ...problemsOf(source, whole), ...lint(source, whole, facts)];
  return found.toSorted((a, b) => a.span.start - b.span.start);
}
