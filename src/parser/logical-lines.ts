import type { Span } from "../source.js";
import type { Comment, Heredoc } from "./ast.js";
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
  /** True when a heredoc of it was reported. */
  readonly broken: boolean;
  /** From the first character to the last one of the last line, heredoc bodies included. */
  readonly span: Span;
  /** The source range of `text.slice(start, end)`. */
  locate(start: number, end: number): Span;
}

/** Nearly always an instruction, even where the text above it is not understood. */
const KEYWORD =
  /^(?:FROM|RUN|CMD|LABEL|MAINTAINER|EXPOSE|ENV|ADD|COPY|ENTRYPOINT|VOLUME|USER|WORKDIR|ARG|ONBUILD|STOPSIGNAL|HEALTHCHECK|SHELL)[ \t]/;

/** Each heredoc without an end costs a search through the rest of the file. */
const MOST_RECOVERIES = 100;

/** Where a line that nearly ends a heredoc is looked for, in characters, and for which names. */
const NEARBY = 64 * 1024;
const LONGEST_NAME = 100;

interface Joined {
  readonly text: string;
  readonly nextLine: number;
  readonly offsetOf: (at: number) => number;
}

/**
 * Yields the instructions of a file in order, joining continuation lines and cutting out heredoc bodies; comment and
 * empty lines between continuation lines vanish. All comment lines met are added to `comments`. Linear in the text.
 * Source: Dockerfile reference, "Format", "Parser directives: escape", "Here-Documents".
 */
export function* logicalLines(
  lines: LineTable,
  firstLine: number,
  escape: Escape,
  findings: Findings,
  comments: Comment[],
): Generator<LogicalLine> {
  let above: string[] = [];
  let recoveries = 0;
  for (let line = firstLine; line < lines.count;) {
    const end = lines.end(line);
    const first = skipBlanks(lines.text, lines.start(line), end);
    if (first === end || lines.text[first] === "#") {
      if (first === end) above = [];
      else {
        const comment = commentAt(lines, first, end);
        comments.push(comment);
        above.push(comment.text);
      }
      line++;
      continue;
    }
    const known = comments.length;
    const joined = join(lines, line, escape, findings, comments);
    line = joined.nextLine;
    if (joined.text === "") {
      above = [];
      continue;
    }
    const { offsetOf, text } = joined;
    // Lines of nothing but the escape character may lead an instruction, and have comments between them.
    for (let at = known; (comments[at]?.span.start ?? Infinity) < offsetOf(0); at++) {
      above.push(comments[at]?.text ?? "");
    }
    const locate = (from: number, to: number): Span => {
      const last = to > 0 ? offsetOf(to - 1) + 1 : offsetOf(0);
      return lines.span(to > from ? offsetOf(from) : last, last);
    };
    const openers = findOpeners(text);
    const bodies = readBodies(lines, line, text, openers, locate, findings);
    line = bodies.nextLine;
    if (!bodies.ended) line = recoveries++ < MOST_RECOVERIES ? nextInstruction(lines, line) : lines.count;
    const last = openers.length > 0 ? lines.end(line - 1) : offsetOf(text.length - 1) + 1;
    const span = lines.span(offsetOf(0), last);
    const { heredocs } = bodies;
    yield {
      text,
      comments: above,
      openers,
      heredocs,
      broken: heredocs.length < openers.length,
      span,
      locate,
    };
    above = [];
  }
}

function commentAt(lines: LineTable, hash: number, lineEnd: number): Comment {
  const end = trimEnd(lines.text, hash, lineEnd);
  return { text: lines.text.slice(skipBlanks(lines.text, hash + 1, end), end), span: lines.span(hash, end) };
}

function join(
  lines: LineTable,
  firstLine: number,
  escape: Escape,
  findings: Findings,
  comments: Comment[],
): Joined {
  const { text } = lines;
  const parts: string[] = [];
  const partAt: number[] = [];
  const partSource: number[] = [];
  let length = 0;
  let continues = true;
  let line = firstLine;
  for (; continues && line < lines.count; line++) {
    const start = lines.start(line);
    const end = lines.end(line);
    const first = skipBlanks(text, start, end);
    const isComment = line > firstLine && text[first] === "#";
    if (isComment) comments.push(commentAt(lines, first, end));
    if (first === end || isComment) continue;
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
): { readonly heredocs: readonly Heredoc[]; readonly nextLine: number; readonly ended: boolean } {
  const heredocs: Heredoc[] = [];
  let line = firstLine;
  for (const { start, end, name, expand, chomp } of openers) {
    const span = locate(start, end);
    const opener = text.slice(start, end);
    const terminator = findTerminator(lines, line, name, chomp);
    if (terminator === undefined) {
      const hint = nearTerminator(lines, line, name) ?? hintForUnterminated(name);
      findings.error("UnterminatedHeredoc", `the heredoc ${quoted(opener)} is never ended`, span, hint);
      return { heredocs, nextLine: line, ended: false };
    }
    const body = terminator > line ? lines.text.slice(lines.start(line), lines.start(terminator)) : "";
    heredocs.push({ name, body: chomp ? chompTabs(body) : body, expand, chomp, opener, span });
    line = terminator + 1;
  }
  return { heredocs, nextLine: line, ended: true };
}

function hintForUnterminated(name: string): string {
  const hint = `end it with a line that holds only ${quoted(name)}`;
  const word = /^\w+(?=[;|&()<>])/.exec(name)?.[0];
  if (word !== undefined) return `${hint}, or put a blank behind ${quoted(word)}`;
  return /^\d+\)*$/.test(name) ? `${hint}; a shift needs quotes, as in "$((1 << 2))"` : hint;
}

/** Tells of a line not far below that nearly ends the heredoc. */
function nearTerminator(lines: LineTable, from: number, name: string): string | undefined {
  if (name.length > LONGEST_NAME) return undefined;
  const start = lines.start(from);
  const literal = name.replace(/[^\w ]/g, "\\$&");
  const near = new RegExp(`^[ \\t]*${literal}[ \\t]*$`, "im");
  const line = near.exec(lines.text.slice(start, start + NEARBY))?.[0];
  if (line === undefined) return undefined;
  const differs = line.includes(name) ? "it has blanks beside the name" : "capital and small letters differ";
  return `the line ${quoted(line)} does not end it: ${differs}`;
}

/** Where reading goes on after a heredoc without an end, so that errors further down are found too. */
function nextInstruction(lines: LineTable, from: number): number {
  let line = from;
  while (line < lines.count && !KEYWORD.test(lines.text.slice(lines.start(line), lines.start(line) + 12)))
    line++;
  return line;
}

/** The line that holds only `name`, for `<<-` behind tabs. */
function findTerminator(lines: LineTable, from: number, name: string, chomp: boolean): number | undefined {
  const { text } = lines;
  const first = lines.start(from);
  for (let at = text.indexOf(name, first); at >= 0; at = text.indexOf(name, at + 1)) {
    let start = at;
    while (chomp && start > first && text[start - 1] === "\t") start--;
    if (start > first && text[start - 1] !== "\n") continue;
    const line = lines.lineAt(at);
    if (lines.end(line) === at + name.length) return line;
  }
  return undefined;
}
