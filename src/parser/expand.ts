import { CooperError } from "../errors.js";
import { type Escape, quoteEnd } from "./characters.js";
import { NO_SINK, patternSink, type Sink, textSink, wordSink } from "./expand-sinks.js";
import { type Pattern, removePrefix, removeSuffix, splitByPattern } from "./pattern.js";

/** The value of a variable, undefined when it is not set. */
export type Lookup = (name: string) => string | undefined;

export interface ExpandOptions {
  /** The file's escape character. */
  readonly escape: Escape;
  /** Called with the name of each variable that was used without being set, and for which no default stood. */
  readonly onUnset?: (name: string) => void;
}

const DEEPEST = 100;

/**
 * A word with its variables replaced and its quotes and escapes removed: `$v ${v}`, `${v:-w} ${v:+w} ${v:?e}` and the
 * same without the colon, `${v#p} ${v##p} ${v%p} ${v%%p}`, `${v/p/r} ${v//p/r}`. Unset variables are empty. A default
 * or alternative that is not used is not evaluated. At most 1 MiB long and 100 substitutions deep.
 * Throws CooperError `syntax` without a place. Source: Dockerfile reference, "Environment replacement"; POSIX sh 2.6.2.
 */
export function expandWord(text: string, lookup: Lookup, options: ExpandOptions): string {
  const sink = textSink();
  expand(text, lookup, options, true, sink);
  return sink.text();
}

/** As `expandWord`, the result split at the blanks that stand in no quotes; values of unquoted variables split too. */
export function expandWords(text: string, lookup: Lookup, options: ExpandOptions): readonly string[] {
  const sink = wordSink();
  expand(text, lookup, options, true, sink);
  return sink.words();
}

/**
 * The body of an unquoted heredoc with its variables replaced. Quotes are text; a backslash protects the character after
 * it and vanishes, whatever the file's escape is. Limits and errors as for `expandWord`. Source: BuildKit.
 */
export function expandHeredoc(
  body: string,
  lookup: Lookup,
  options: Omit<ExpandOptions, "escape"> = {},
): string {
  const sink = textSink();
  expand(body, lookup, { ...options, escape: "\\" }, false, sink);
  return sink.text();
}

interface Reader {
  readonly text: string;
  readonly escape: Escape;
  /** False in heredoc bodies. */
  readonly quotes: boolean;
  readonly value: (name: string) => string | undefined;
  readonly unset: (name: string) => void;
  at: number;
  depth: number;
}

function expand(text: string, lookup: Lookup, options: ExpandOptions, quotes: boolean, sink: Sink): void {
  const unset = options.onUnset ?? (() => undefined);
  const reader: Reader = { text, escape: options.escape, quotes, value: lookup, unset, at: 0, depth: 0 };
  readUntil(reader, "", sink, false);
}

/** Reads up to one of the characters `stops`, or to the end when there are none, and leaves the reader on it. */
function readUntil(reader: Reader, stops: string, sink: Sink, quoted: boolean): void {
  const { text, escape, quotes } = reader;
  for (;;) {
    const from = reader.at;
    while (reader.at < text.length && !isSpecial(text[reader.at] ?? "", reader, stops)) reader.at++;
    if (reader.at > from) sink.put(text.slice(from, reader.at), quoted);
    if (reader.at >= text.length) {
      if (stops !== "") throw problem(`"}" is missing`, reader);
      return;
    }
    const char = text[reader.at] ?? "";
    if (stops.includes(char)) return;
    if (char === "$") readDollar(reader, sink, quoted);
    else if (char === escape) readEscape(reader, sink);
    else if (quotes && char === "'") readSingleQuotes(reader, sink);
    else readDoubleQuotes(reader, sink);
  }
}

function isSpecial(char: string, { escape, quotes }: Reader, stops: string): boolean {
  return (
    char === "$" || char === escape || (quotes && (char === "'" || char === '"')) || stops.includes(char)
  );
}

/** An escape at the very end protects nothing and vanishes. */
function readEscape(reader: Reader, sink: Sink): void {
  sink.put(reader.text[reader.at + 1] ?? "", true);
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
      sink.put(protects ? next : escape, true);
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
  else putValue(name, reader, sink, quoted);
}

/** A name, a row of digits, or one of the shell's special parameters, which no build sets. */
function readName(reader: Reader): string {
  const pattern = /[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]/y;
  pattern.lastIndex = reader.at;
  const name = pattern.exec(reader.text)?.[0] ?? "";
  reader.at += name.length;
  return name;
}

function putValue(name: string, reader: Reader, sink: Sink, quoted: boolean): void {
  if (sink === NO_SINK) return;
  const value = reader.value(name);
  if (value === undefined) reader.unset(name);
  else sink.put(value, quoted);
}

function readSubstitution(reader: Reader, sink: Sink, quoted: boolean): void {
  const { text } = reader;
  const name = readName(reader);
  if (name === "") throw problem("${ is not followed by a name", reader);
  const operator = /:?[-+?]|##?|%%?|\/\/?|\}/y;
  operator.lastIndex = reader.at;
  const found = operator.exec(text)?.[0];
  if (found === undefined) {
    if (reader.at >= text.length) throw problem(`"}" is missing`, reader);
    throw problem(`\${${name}${text.slice(reader.at, reader.at + 2)}…} is not supported`, reader);
  }
  reader.at += found.length;
  if (found === "}") putValue(name, reader, sink, quoted);
  else if (found.startsWith("/")) readReplacement(name, found === "//", reader, sink, quoted);
  else if (found.startsWith("#") || found.startsWith("%")) readRemoval(name, found, reader, sink, quoted);
  else readCondition(name, found, reader, sink, quoted);
}

function readCondition(name: string, operator: string, reader: Reader, sink: Sink, quoted: boolean): void {
  const live = sink !== NO_SINK;
  const value = live ? reader.value(name) : undefined;
  const given = value !== undefined && !(operator.startsWith(":") && value === "");
  const kind = operator.at(-1);
  if (kind === "?") {
    const message = textSink();
    readUntil(reader, "}", live && !given ? message : NO_SINK, quoted);
    const reason = value === undefined ? "is not set" : "is empty";
    if (live && !given) throw new CooperError("syntax", `${name}: ${message.text() || reason}`);
  } else readUntil(reader, "}", live && given === (kind === "+") ? sink : NO_SINK, quoted);
  reader.at++;
  if (live && given && kind !== "+") sink.put(value, quoted);
}

function readRemoval(name: string, operator: string, reader: Reader, sink: Sink, quoted: boolean): void {
  const pattern = readPattern(reader, "}", sink);
  reader.at++;
  const remove = operator.startsWith("#") ? removePrefix : removeSuffix;
  putChanged(name, (value) => remove(value, pattern, operator.length === 2), reader, sink, quoted);
}

/** `${v/p}` removes what p matches, as in bash. */
function readReplacement(
  name: string,
  everywhere: boolean,
  reader: Reader,
  sink: Sink,
  quoted: boolean,
): void {
  const pattern = readPattern(reader, "/}", sink);
  const replacement = textSink();
  if (reader.text[reader.at++] === "/") {
    readUntil(reader, "}", sink === NO_SINK ? NO_SINK : replacement, quoted);
    reader.at++;
  }
  const by = replacement.text();
  putChanged(name, (value) => joined(splitByPattern(value, pattern, everywhere), by), reader, sink, quoted);
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

function readPattern(reader: Reader, stops: string, sink: Sink): Pattern {
  const pattern = patternSink();
  readUntil(reader, stops, sink === NO_SINK ? NO_SINK : pattern, false);
  return pattern.pattern();
}

function putChanged(
  name: string,
  change: (value: string) => string,
  reader: Reader,
  sink: Sink,
  quoted: boolean,
): void {
  if (sink === NO_SINK) return;
  const value = reader.value(name);
  if (value === undefined) reader.unset(name);
  else sink.put(change(value), quoted);
}

function problem(message: string, { text }: Reader): CooperError {
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return new CooperError("syntax", `cannot expand "${shown}": ${message}`);
}
