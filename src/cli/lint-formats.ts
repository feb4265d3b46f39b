import { createHash } from "node:crypto";
import type { LintResult } from "../cooper.js";
import type { Diagnostic, SourceText, Span } from "../source.js";

/** What the formats say of a rule. */
interface RuleText {
  readonly name: string;
  readonly origin: string;
  readonly says: string;
  readonly why: string;
}

/** The result as it is, places in lines and columns from 1. */
export function jsonReport({ source, diagnostics, fixed }: LintResult): Record<string, unknown> {
  const plain = ({ code, severity, message, span, hint, fix }: Diagnostic): Record<string, unknown> => {
    const end = endOf(source, span);
    return {
      code,
      severity,
      message,
      ...(hint === undefined ? {} : { hint }),
      line: span.line,
      column: span.column,
      endLine: end.line,
      endColumn: end.column,
      fixable: fix !== undefined,
    };
  };
  return {
    file: source.name,
    diagnostics: diagnostics.map(plain),
    fixed: fixed.map(({ code, message, span }) => ({ code, message, line: span.line, column: span.column })),
  };
}

const SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json";

/** Source: OASIS SARIF 2.1.0; what GitHub code scanning reads of it. */
export function sarif(
  { source, diagnostics }: LintResult,
  rules: readonly RuleText[],
  version: string,
): Record<string, unknown> {
  const known = new Map(rules.map((rule) => [rule.name, rule]));
  const ids = [...new Set(diagnostics.map(({ code }) => code))].toSorted();
  const uri = uriOf(source.name);
  return {
    $schema: SCHEMA,
    version: "2.1.0",
    runs: [
      {
        tool: { driver: { name: "cooper", version, rules: ids.map((id) => descriptor(id, known.get(id))) } },
        columnKind: "utf16CodeUnits",
        results: diagnostics.map((diagnostic) => ({
          ruleId: diagnostic.code,
          ruleIndex: ids.indexOf(diagnostic.code),
          level: diagnostic.severity,
          message: { text: withHint(diagnostic) },
          locations: [
            { physicalLocation: { artifactLocation: { uri }, region: region(source, diagnostic.span) } },
          ],
          partialFingerprints: { "cooperLint/v1": fingerprint(source, diagnostic, 0) },
        })),
      },
    ],
  };
}

function descriptor(id: string, rule: RuleText | undefined): Record<string, unknown> {
  if (!rule) return { id, shortDescription: { text: id } };
  return {
    id,
    name: id,
    shortDescription: { text: `${rule.says}.` },
    fullDescription: { text: rule.why },
    help: { text: rule.why },
    properties: { tags: ["containerfile", rule.origin] },
  };
}

function region(source: SourceText, span: Span): Record<string, number> {
  const end = endOf(source, span);
  return { startLine: span.line, startColumn: span.column, endLine: end.line, endColumn: end.column };
}

/** The place after the last character; at least one character after the first. */
function endOf(
  { text }: SourceText,
  { start, end, line, column, endLine }: Span,
): { line: number; column: number } {
  if (endLine === line) return { line, column: column + Math.max(1, end - start) };
  return { line: endLine, column: end - (text.lastIndexOf("\n", end - 1) + 1) + 1 };
}

/** A relative path as a URI; an absolute one with its scheme. */
function uriOf(name: string): string {
  const path = name.split("/").map(encodeURIComponent).join("/");
  return path.startsWith("/") ? `file://${path}` : path;
}

/** Source: GitLab, "Code Quality report format". */
export function codeQuality({ source, diagnostics }: LintResult): readonly Record<string, unknown>[] {
  const seen = new Map<string, number>();
  return diagnostics.map((diagnostic) => {
    const first = fingerprint(source, diagnostic, 0);
    const count = seen.get(first) ?? 0;
    seen.set(first, count + 1);
    return {
      description: withHint(diagnostic),
      check_name: diagnostic.code,
      fingerprint: count === 0 ? first : fingerprint(source, diagnostic, count),
      severity: diagnostic.severity === "error" ? "major" : "minor",
      location: { path: source.name, lines: { begin: diagnostic.span.line } },
    };
  });
}

function withHint({ message, hint }: Diagnostic): string {
  return hint === undefined ? message : `${message}; ${hint}`;
}

/** The same while the finding and the lines it is about are the same, wherever they move; `nth` tells equal ones apart. */
function fingerprint(source: SourceText, { code, span }: Diagnostic, nth: number): string {
  const begin = span.start === 0 ? 0 : source.text.lastIndexOf("\n", span.start - 1) + 1;
  const newline = source.text.indexOf("\n", Math.max(begin, span.end - 1));
  const lines = source.text.slice(begin, newline < 0 ? undefined : newline).trim();
  const parts = [source.name, code, String(span.column), lines, String(nth)];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 40);
}
