import type { Directive } from "./ast.js";
import { type Escape, isSpace, skipBlanks, trimEnd } from "./characters.js";
import { type Findings, quoted } from "./diagnostics.js";
import type { LineTable } from "./line-table.js";

/** What the comment lines at the top of a file say about the file. */
export interface Directives {
  readonly escape: Escape;
  readonly directives: readonly Directive[];
  /** The first line that is no directive. */
  readonly nextLine: number;
}

const NAMES = ["syntax", "escape", "check"];

/**
 * Reads the directives: they stand before anything else, and the first line that is none ends them.
 * `syntax` and `check` are noted and never acted on: a build must not fetch a parser that a file names.
 * Source: Dockerfile reference, "Parser directives".
 */
export function readDirectives(lines: LineTable, findings: Findings, from = 0): Directives {
  const directives: Directive[] = [];
  let escape: Escape = "\\";
  let line = from;
  for (; line < lines.count; line++) {
    const found = directiveAt(lines, line);
    if (!found || found.value === "") {
      if (found?.name === "escape" && isSpace(lines.text.charCodeAt(lines.end(line) - 1)))
        reportEscape(found, findings);
      break;
    }
    if (directives.some((known) => known.name === found.name)) {
      findings.error("DuplicateDirective", `the parser directive "${found.name}" is given twice`, found.span);
    }
    directives.push(found);
    if (found.name !== "escape") continue;
    if (found.value === "\\" || found.value === "`") escape = found.value;
    else reportEscape(found, findings);
  }
  warnOfLateDirectives(lines, line, findings);
  return { escape, directives, nextLine: line };
}

function reportEscape({ value, span }: Directive, findings: Findings): void {
  findings.error("InvalidEscape", `escape is ${quoted(value)}, it must be \\ or \``, span);
}

/** A directive that is only a comment, since it has no value or stands too late, would silently change what the file means. */
function warnOfLateDirectives(lines: LineTable, from: number, findings: Findings): void {
  for (let line = from; line < lines.count; line++) {
    const first = skipBlanks(lines.text, lines.start(line), lines.end(line));
    if (first === lines.end(line)) continue;
    if (lines.text[first] !== "#") return;
    const found = directiveAt(lines, line);
    if (!found || found.name === "syntax") continue;
    const reason = found.value === "" ? "it has no value" : "it does not stand at the top of the file";
    findings.warning("IgnoredDirective", `"# ${found.name}=" is only a comment: ${reason}`, found.span);
  }
}

function directiveAt(lines: LineTable, line: number): Directive | undefined {
  const { text } = lines;
  const end = trimEnd(text, lines.start(line), lines.end(line));
  const hash = skipBlanks(text, lines.start(line), end);
  if (text[hash] !== "#") return undefined;
  const nameAt = skipBlanks(text, hash + 1, end);
  const name = directiveName(text.slice(nameAt, Math.min(end, nameAt + 64)));
  if (name === undefined) return undefined;
  const equals = text.indexOf("=", nameAt);
  const value = text.slice(skipBlanks(text, equals + 1, end), end);
  return { name, value, span: lines.span(hash, end) };
}

/** The name of the directive that a comment's text would be at the top of a file, in lower case. */
export function directiveName(comment: string): string | undefined {
  const equals = comment.indexOf("=");
  if (equals < 0) return undefined;
  const name = comment.slice(0, trimEnd(comment, 0, equals)).toLowerCase();
  return NAMES.includes(name) ? name : undefined;
}
