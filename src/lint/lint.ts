import type { Containerfile } from "../parser/index.js";
import type { Diagnostic, SourceText, Span } from "../source.js";
import { isOn, type LintConfig, readConfig } from "./check.js";
import type { LintFacts } from "./facts.js";
import type { Finding } from "./rule.js";
import { rules, stepRules, textRules } from "./rules.js";
import { steps, textScope } from "./walk.js";

/** Part of the key under which findings are kept on disk. Raise it whenever the same text gives other findings. */
export const LINT_VERSION = 2;

/** Build arg that takes the place of the file's `# check=`. Source: BuildKit. */
const CHECK_ARG = "BUILDKIT_DOCKERFILE_CHECK";

export interface LintOptions {
  /** What `findInText` said of the same file, when it is known already. */
  readonly inText?: readonly Finding[];
}

/**
 * The findings about a file that count, in the order of their places; `code` is the rule's name. They are warnings, or
 * errors where the file says `# check=error=true`. A `# check=` that cannot be read is an error `InvalidCheck`.
 */
export function lint(
  source: SourceText,
  file: Containerfile,
  facts: LintFacts,
  options: LintOptions = {},
): readonly Diagnostic[] {
  const directive = file.directives.find(({ name }) => name === "check");
  const given = facts.buildArgs?.get(CHECK_ARG);
  const config = readConfig(given ?? directive?.value ?? "");
  if (config.problem !== undefined) {
    const message = given === undefined ? `check: ${config.problem}` : `${CHECK_ARG}: ${config.problem}`;
    const span = given === undefined && directive ? directive.span : TOP;
    return [{ code: "InvalidCheck", severity: "error", message, span }];
  }
  const scope = textScope(source, file);
  const found = [...(options.inText ?? findInText(source, file))];
  const rulesOn = stepRules.filter(({ rule }) => isOn(config, rule));
  if (rulesOn.length > 0) {
    for (const step of steps(scope, facts)) {
      for (const { find } of rulesOn) found.push(...(step.isTrigger ? told(find(step)) : find(step)));
    }
  }
  return unique(found)
    .filter((finding) => counts(finding, config))
    .map((finding) => diagnostic(finding, config))
    .toSorted((a, b) => a.span.start - b.span.start);
}

/** Findings in an ONBUILD: its text is kept in the image's configuration, so no fix leaves the image the same. */
function* told(findings: Iterable<Finding>): Generator<Finding> {
  for (const { rule, message, span, hint } of findings)
    yield { rule, message, span, ...(hint === undefined ? {} : { hint }) };
}

/** A trigger is met once for every stage that starts from its own. */
function unique(findings: readonly Finding[]): readonly Finding[] {
  return [...new Map(findings.map((one) => [`${one.span.start} ${one.rule} ${one.message}`, one])).values()];
}

const TOP: Span = { start: 0, end: 0, line: 1, column: 1, endLine: 1 };

/** What the rules that need no facts say, whether it counts or not. Plain JSON: it may be kept with the AST. */
export function findInText(source: SourceText, file: Containerfile): readonly Finding[] {
  const scope = textScope(source, file);
  return textRules.flatMap(({ find }) => [...find(scope)]);
}

const BY_NAME = new Map(rules.map((rule) => [rule.name, rule]));

function counts({ rule }: Finding, config: LintConfig): boolean {
  const known = BY_NAME.get(rule);
  return known !== undefined && isOn(config, known);
}

function diagnostic({ rule, ...finding }: Finding, { error }: LintConfig): Diagnostic {
  return { code: rule, severity: error ? "error" : "warning", ...finding };
}
