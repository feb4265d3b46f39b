import { CooperError } from "../errors.js";
import { type Escape, quoteEnd } from "./characters.js";
import { type Sink, textSink, wordSink } from "./expand-sinks.js";
import {
  readPattern,
  removePrefix,
  removeSuffix,
  splitByPattern,
  splitPrefix,
  splitSuffix,
} from "./pattern.js";

/** The value of a variable, undefined when it is not set. */
export type Lookup = (name: string) => string | undefined;

export interface ExpandOptions {
  /** The file's escape character. */
  readonly escape: Escape;
}

const DEEPEST = 100;

/**
 * A word with its variables replaced and its quotes and escapes removed: `$v ${v}`, `${v:-w} ${v:+w} ${v:?e}` and the
 * same without the colon, `${v#p} ${v##p} ${v%p} ${v%%p}`, `${v/p/r} ${v//p/r}`, and buildah's `${v/#p/r} ${v/%p/r}`.
 * Unset variables are empty. As in BuildKit, and not as in a shell: a default or alternative is evaluated whether it is
 * used or not; quotes protect nothing in a pattern, only a backslash does; and a replacement keeps its backslashes.
 * At most 1 MiB long and 100 substitutions deep. Throws CooperError `syntax` without a place.
 * Source: Dockerfile reference, "Environment replacement"; POSIX sh 2.6.2.
 */
export function expandWord(text: string, lookup: Lookup, options: ExpandOptions): string {
  const sink = textSink();
  expand(text, lookup, options.escape, true, sink);
  return sink.text();
}

/** As `expandWord`, the result split at the blanks that stand in no quotes; values of unquoted variables split too. */
export function expandWords(text: string, lookup: Lookup, options: ExpandOptions): readonly string[] {
  const sink = wordSink();
  expand(text, lookup, options.escape, true, sink);
  return sink.words();
}

/**
 * The body of an unquoted heredoc with its variables replaced. Quotes are text; a backslash protects the character after
 * it and vanishes, whatever the file's escape is. Limits and errors as for `expandWord`. Source: BuildKit.
 */
export function expandHeredoc(body: string, lookup: Lookup): string {
  const sink = textSink();
  expand(body, lookup, "\\", false, sink);
  return sink.text();
}

interface Reader {
  readonly text: string;
  readonly escape: Escape;
  /** False in heredoc bodies. */
  readonly quotes: boolean;
  readonly value: Lookup;
  /** True in patterns and replacements: escape characters stay. */
  keepsEscapes: boolean;
  at: number;
  depth: number;
}

function expand(text: string, value: Lookup, escape: Escape, quotes: boolean, sink: Sink): void {
  const reader: Reader = { text, escape, quotes, value, keepsEscapes: false, at: 0, depth: 0 };
  readUntil(reader, "", sink, false);
}

/** Reads up to the character `stop` and leaves the reader on it; to the end when `stop` is empty. */
function readUntil(reader: Reader, stop: string, sink: Sink, quoted: boolean): void {
  const { text, escape, quotes } = reader;
  for (;;) {
    const from = reader.at;
    while (reader.at < text.length && !isSpecial(text[reader.at] ?? "", reader, stop)) reader.at++;
    if (reader.at > from) sink.put(text.slice(from, reader.at), quoted);
    if (reader.at >= text.length) {
      if (stop !== "") throw problem(`"${stop}" is missing`, reader);
      return;
    }
    const char = text[reader.at] ?? "";
    if (char === stop) return;
    if (char === "$") readDollar(reader, sink, quoted);
    else if (char === escape) readEscape(reader, sink);
    else if (quotes && char === "'") readSingleQuotes(reader, sink);
    else readDoubleQuotes(reader, sink);
  }
}

function isSpecial(char: string, { escape, quotes }: Reader, stop: string): boolean {
  return char === "$" || char === escape || char === stop || (quotes && (char === "'" || char === '"'));
}

/** An escape at the very end protects nothing and vanishes. */
function readEscape(reader: Reader, sink: Sink): void {
  const kept = reader.keepsEscapes ? reader.escape : "";
  sink.put(kept + (reader.text[reader.at + 1] ?? ""), true);
  reader.at += 2;
}

function readSingleQuotes(reader: Reader, sink: Sink): void {
  const close = quoteEnd(reader.text, reader.at, reader.escape);
  if (close < 0) throw problem("a single quote is never closed", reader);
  sink.put(reader.text.slice(reader.at + 1, close), true);
  reader.at = close + 1;
}

function readDoubleQuotes(reader: Reader, sink: Sink): void {
  const { text, escape } = reader;
  sink.put("", true);
  for (let from = ++reader.at; ; from = reader.at) {
    while (reader.at < text.length && !["$", '"', escape].includes(text[reader.at] ?? "")) reader.at++;
    if (reader.at > from) sink.put(text.slice(from, reader.at), true);
    const char = text[reader.at];
    if (char === undefined) throw problem("a double quote is never closed", reader);
    if (char === "$") readDollar(reader, sink, true);
    else if (char === escape) {
      const next = text[reader.at + 1] ?? "";
      const protects = next === "$" || next === '"' || next === escape;
      const kept = reader.keepsEscapes ? escape : "";
      sink.put(kept + (protects ? next : escape), true);
      reader.at += protects ? 2 : 1;
    } else {
      reader.at++;
      return;
    }
  }
}

function readDollar(reader: Reader, sink: Sink, quoted: boolean): void {
  reader.at++;
  if (reader.text[reader.at] === "{") {
    if (++reader.depth > DEEPEST) throw problem(`substitutions are nested more than ${DEEPEST} deep`, reader);
    reader.at++;
    readSubstitution(reader, sink, quoted);
    reader.depth--;
    return;
  }
  const name = readName(reader);
  if (name === "") sink.put("$", true);
  else sink.put(reader.value(name) ?? "", quoted);
}

/** A name, a row of digits, or one of the shell's special parameters, which no build sets. */
function readName(reader: Reader): string {
  const pattern = /[\p{L}_][\p{L}\p{Nd}_]*|\p{Nd}+|[@*#?$!-]/uy;
  pattern.lastIndex = reader.at;
  const name = pattern.exec(reader.text)?.[0] ?? "";
  reader.at += name.length;
  return name;
}

function readSubstitution(reader: Reader, sink: Sink, quoted: boolean): void {
  const { text } = reader;
  const name = readName(reader);
  if (name === "") throw problem("${ is not followed by a name", reader);
  const operator = /:?[-+?]|[#%}]|\/[/#%]?/y;
  operator.lastIndex = reader.at;
  const found = operator.exec(text)?.[0];
  if (found === undefined) {
    if (reader.at >= text.length) throw problem(`"}" is missing`, reader);
    throw problem(`\${${name}${text.slice(reader.at, reader.at + 2)}…} is not supported`, reader);
  }
  reader.at += found.length;
  const value = reader.value(name);
  if (found === "}") sink.put(value ?? "", quoted);
  else if (found.startsWith("/")) sink.put(replaced(value ?? "", found, reader), quoted);
  else if (found === "#" || found === "%") sink.put(shortened(value ?? "", found, reader), quoted);
  else readCondition(name, value, found, reader, sink, quoted);
}

function readCondition(
  name: string,
  value: string | undefined,
  operator: string,
  reader: Reader,
  sink: Sink,
  quoted: boolean,
): void {
  const given = value !== undefined && !(operator.startsWith(":") && value === "");
  const kind = operator.at(-1);
  const unused = textSink();
  const word = kind !== "?" && given === (kind === "+") ? sink : unused;
  readEscaped(reader, "}", word, quoted, false);
  if (kind === "?" && !given) {
    const reason = value === undefined ? "is not set" : "is empty";
    throw new CooperError("syntax", `${name}: ${unused.text() || reason}`);
  }
  if (given && kind !== "+") sink.put(value, quoted);
}

/** `${v#p}` and `${v%p}`; the second `#` or `%` that asks for the longest match may come out of a variable. */
function shortened(value: string, operator: string, reader: Reader): string {
  const text = readText(reader, "}");
  const longest = text.startsWith(operator);
  const pattern = readPattern(longest ? text.slice(1) : text);
  return (operator === "#" ? removePrefix : removeSuffix)(value, pattern, longest);
}

/** `${v/p/r}` and its kin. */
function replaced(value: string, operator: string, reader: Reader): string {
  const pattern = readPattern(readText(reader, "/"));
  const by = readText(reader, "}");
  if (operator === "/#") return joined(splitPrefix(value, pattern, true), by);
  if (operator === "/%") return joined(splitSuffix(value, pattern, true), by);
  return joined(splitByPattern(value, pattern, operator === "//"), by);
}

/** Not `join`: the limit must stop the text while it grows, and not once it is there. */
function joined(around: readonly string[], by: string): string {
  const result = textSink();
  for (const [index, part] of around.entries()) {
    if (index > 0) result.put(by, true);
    result.put(part, true);
  }
  return result.text();
}

/** A pattern or replacement with its escape characters. */
function readText(reader: Reader, stop: string): string {
  const sink = textSink();
  readEscaped(reader, stop, sink, false, true);
  return sink.text();
}

/** Reads up to `stop` and over it. */
function readEscaped(reader: Reader, stop: string, sink: Sink, quoted: boolean, keepsEscapes: boolean): void {
  const before = reader.keepsEscapes;
  reader.keepsEscapes = keepsEscapes;
  readUntil(reader, stop, sink, quoted);
  reader.keepsEscapes = before;
  reader.at++;
}

function problem(message: string, { text }: Reader): CooperError {
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return new CooperError("syntax", `cannot expand "${shown}": ${message}`);
}
