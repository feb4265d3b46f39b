import type { Span } from "../source.js";
import type { Heredoc } from "./ast.js";
import { type Escape, skipBlanks, trimEnd } from "./characters.js";
import { type Findings, quoted } from "./diagnostics.js";
import { chompTabs, findOpeners, type Opener } from "./heredoc.js";
import type { LineTable } from "./line-table.js";

/** One instruction's text with its continuation lines joined, and the way back to the places it came from. */
export interface LogicalLine {
  /** Begins and ends with a character that is no blank; never empty. */
  readonly text: string;
  readonly comments: readonly string[];
  readonly openers: readonly Opener[];
  readonly heredocs: readonly Heredoc[];
  /** From the first character to the last one of the last line, heredoc bodies included. */
  readonly span: Span;
  /** The source range of `text.slice(start, end)`. */
  locate(start: number, end: number): Span;
}

interface Joined {
  readonly text: string;
  readonly nextLine: number;
  readonly offsetOf: (at: number) => number;
}

/**
 * Yields the instructions of a file in order, joining continuation lines and cutting out heredoc bodies; comment and
 * empty lines between continuation lines vanish. Linear in the size of the text.
 * Source: Dockerfile reference, "Format", "Parser directives: escape", "Here-Documents".
 */
export function* logicalLines(
  lines: LineTable,
  firstLine: number,
  escape: Escape,
  findings: Findings,
): Generator<LogicalLine> {
  let comments: string[] = [];
  for (let line = firstLine; line < lines.count;) {
    const end = lines.end(line);
    const first = skipBlanks(lines.text, lines.start(line), end);
    if (first === end || lines.text[first] === "#") {
      if (first === end) comments = [];
      else comments.push(commentText(lines.text, first + 1, end));
      line++;
      continue;
    }
    const joined = join(lines, line, escape, findings);
    line = joined.nextLine;
    if (joined.text === "") {
      comments = [];
      continue;
    }
    const { offsetOf, text } = joined;
    const locate = (from: number, to: number): Span => {
      const last = to > 0 ? offsetOf(to - 1) + 1 : offsetOf(0);
      return lines.span(to > from ? offsetOf(from) : last, last);
    };
    const openers = findOpeners(text);
    const bodies = readBodies(lines, line, text, openers, locate, findings);
    line = bodies.nextLine;
    const last = openers.length > 0 ? lines.end(line - 1) : offsetOf(text.length - 1) + 1;
    yield { text, comments, openers, heredocs: bodies.heredocs, span: lines.span(offsetOf(0), last), locate };
    comments = [];
  }
}

function commentText(text: string, from: number, end: number): string {
  const start = skipBlanks(text, from, end);
  return text.slice(start, trimEnd(text, start, end));
}

function join(lines: LineTable, firstLine: number, escape: Escape, findings: Findings): Joined {
  const { text } = lines;
  const parts: string[] = [];
  const partAt: number[] = [];
  const partSource: number[] = [];
  let length = 0;
  let hollow: number | undefined;
  let continues = true;
  let line = firstLine;
  for (; continues && line < lines.count; line++) {
    const start = lines.start(line);
    const end = lines.end(line);
    const first = skipBlanks(text, start, end);
    if (first === end) hollow ??= line;
    if (first === end || (line > firstLine && text[first] === "#")) continue;
    const content = contentBeforeEscape(text, start, end, escape);
    continues = content !== undefined;
    const from = length === 0 ? Math.min(first, content ?? end) : start;
    const part = text.slice(from, content ?? end);
    if (part === "") continue;
    parts.push(part);
    partAt.push(length);
    partSource.push(from);
    length += part.length;
  }
  if (hollow !== undefined) {
    const message = "an empty line inside a continued instruction is skipped";
    findings.warning("NoEmptyContinuation", message, lines.span(lines.start(hollow), lines.end(hollow)));
  }
  if (continues) {
    const at = lines.end(line - 1);
    findings.warning(
      "ContinuationAtEnd",
      `the file ends after a "${escape}" that continues the line`,
      lines.span(at, at),
    );
  }
  const whole = parts.join("");
  const offsetOf = (at: number): number => sourceOffset(partAt, partSource, at);
  return { text: whole.slice(0, trimEnd(whole, 0, whole.length)), nextLine: line, offsetOf };
}

/** The end of what a continued line contributes, or undefined when the line does not continue. An escaped escape does not continue. */
function contentBeforeEscape(text: string, start: number, end: number, escape: Escape): number | undefined {
  let at = end;
  while (at > start && (text[at - 1] === " " || text[at - 1] === "\t")) at--;
  if (at === start || text[at - 1] !== escape) return undefined;
  return at - 1 > start && text[at - 2] === escape ? undefined : at - 1;
}

function sourceOffset(partAt: readonly number[], partSource: readonly number[], at: number): number {
  let low = 0;
  let high = partAt.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((partAt[middle] ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return (partSource[low] ?? 0) + at - (partAt[low] ?? 0);
}

function readBodies(
  lines: LineTable,
  firstLine: number,
  text: string,
  openers: readonly Opener[],
  locate: (start: number, end: number) => Span,
  findings: Findings,
): { readonly heredocs: readonly Heredoc[]; readonly nextLine: number } {
  const heredocs: Heredoc[] = [];
  let line = firstLine;
  for (const { start, end, name, expand, chomp } of openers) {
    const span = locate(start, end);
    const opener = text.slice(start, end);
    if (name === "") {
      findings.error("EmptyHeredocName", `the heredoc ${quoted(opener)} has an empty delimiter`, span);
      continue;
    }
    const terminator = findTerminator(lines, line, name, chomp);
    if (terminator === undefined) {
      const hint = `end it with a line that holds only ${quoted(name)}`;
      findings.error("UnterminatedHeredoc", `the heredoc ${quoted(opener)} is never ended`, span, hint);
      return { heredocs, nextLine: lines.count };
    }
    const raw = terminator > line ? lines.text.slice(lines.start(line), lines.start(terminator)) : "";
    if (raw.includes("\r\n")) {
      const message = `the heredoc ${quoted(opener)} has lines that end in CRLF; the carriage returns are kept`;
      findings.warning("HeredocCarriageReturn", message, span);
    }
    heredocs.push({ name, body: chomp ? chompTabs(raw) : raw, expand, chomp, opener, span });
    line = terminator + 1;
  }
  return { heredocs, nextLine: line };
}

function findTerminator(lines: LineTable, from: number, name: string, chomp: boolean): number | undefined {
  for (let line = from; line < lines.count; line++) {
    let start = lines.start(line);
    const end = lines.end(line);
    while (chomp && start < end && lines.text[start] === "\t") start++;
    if (end - start === name.length && lines.text.startsWith(name, start)) return line;
  }
  return undefined;
}
