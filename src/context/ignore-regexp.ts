import { runesOf } from "./go-path.js";

/** Which characters a step of a program takes: sorted out by ranges of code points, both ends included. */
interface RuneSet {
  readonly negated: boolean;
  readonly ranges: readonly number[];
}

/**
 * A pattern as a straight line of steps: `one` takes a character of `set`; `many` any number of them; `deep` is moby's
 * `(.*\/)?`, nothing or anything up to a slash; `begin` holds at the start of the path only.
 */
export type PatternStep =
  | { readonly kind: "one" | "many"; readonly set: RuneSet }
  | { readonly kind: "deep" }
  | { readonly kind: "begin" };

const NOT_SLASH: RuneSet = { negated: true, ranges: [0x2f, 0x2f] };
const NOT_NEWLINE: RuneSet = { negated: true, ranges: [0x0a, 0x0a] };
const ANYTHING = [".", "*"];
const DEEP = ["(", ".", "*", "/", ")", "?"];
const STAR = ["[", "^", "/", "]", "*"];
const QUESTION = ["[", "^", "/", "]"];
const ESCAPED = new Set(".+()|{}$");

const DIGIT = [0x30, 0x39];
const SPACE = [0x09, 0x0a, 0x0c, 0x0d, 0x20, 0x20];
const WORD = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const CLASS_ESCAPES: Readonly<Record<string, RuneSet>> = {
  d: { negated: false, ranges: DIGIT },
  D: { negated: true, ranges: DIGIT },
  s: { negated: false, ranges: SPACE },
  S: { negated: true, ranges: SPACE },
  w: { negated: false, ranges: WORD },
  W: { negated: true, ranges: WORD },
};
const CONTROL_ESCAPES: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };
const POSIX_CLASSES: Readonly<Record<string, readonly number[]>> = {
  alnum: [0x30, 0x39, 0x41, 0x5a, 0x61, 0x7a],
  alpha: [0x41, 0x5a, 0x61, 0x7a],
  ascii: [0, 0x7f],
  blank: [0x09, 0x09, 0x20, 0x20],
  cntrl: [0, 0x1f, 0x7f, 0x7f],
  digit: DIGIT,
  graph: [0x21, 0x7e],
  lower: [0x61, 0x7a],
  print: [0x20, 0x7e],
  punct: [0x21, 0x2f, 0x3a, 0x40, 0x5b, 0x60, 0x7b, 0x7e],
  space: [0x09, 0x0d, 0x20, 0x20],
  upper: [0x41, 0x5a],
  word: WORD,
  xdigit: [0x30, 0x39, 0x41, 0x46, 0x61, 0x66],
};

/** A pattern as moby sorts it: compared as it stands, by its beginning, by its end, or as a program. */
export type PatternShape =
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly text: string }
  | { readonly kind: "steps"; readonly steps: readonly PatternStep[] };

/**
 * What moby's patternmatcher makes of a cleaned pattern (bytes), including what its detour over Go's regexp syntax
 * does by accident: a wildcard inside a class is spelled out there and ends it early, `[^a]` takes a slash, `\d` is a
 * digit, a `^` outside a class holds only at the start. Returns undefined for a pattern that moby would refuse when it
 * first used it, and for escaped letters that are more than one character in Go's syntax (`\b`, `\Q`, `\p`, `\x`...).
 * Source: moby/patternmatcher, `Pattern.compile`.
 */
export function shapeOf(pattern: string): PatternShape | undefined {
  if (!/[*?[\]\\]/.test(pattern)) return { kind: "exact", text: pattern };
  const { kind, expression } = translate(pattern);
  if (kind === "exact") return { kind, text: pattern };
  if (kind === "prefix") return { kind, text: pattern.slice(0, -2) };
  if (kind === "suffix") return { kind, text: pattern.slice(2) };
  const steps = parseExpression(expression);
  return steps && { kind, steps };
}

/** The kind, and the expression character by character. */
function translate(pattern: string): {
  readonly kind: PatternShape["kind"];
  readonly expression: readonly string[];
} {
  const chars = runesOf(pattern).map((rune) => String.fromCodePoint(rune));
  const out: string[] = [];
  let kind: PatternShape["kind"] = "exact";
  let at = 0;
  for (let first = true; at < chars.length; first = false) {
    const char = chars[at++] ?? "";
    if (char === "*" && chars[at] === "*") {
      at += 1;
      if (chars[at] === "/") at += 1;
      const isLast = at === chars.length;
      out.push(...(isLast ? ANYTHING : DEEP));
      kind = isLast && kind === "exact" ? "prefix" : "steps";
      if (first) kind = "suffix";
    } else if (char === "*" || char === "?") {
      out.push(...(char === "*" ? STAR : QUESTION));
      kind = "steps";
    } else if (ESCAPED.has(char)) {
      out.push("\\", char);
    } else {
      out.push(char);
      if (char === "\\" && at < chars.length) out.push(chars[at++] ?? "");
      if (char === "\\" || char === "[" || char === "]") kind = "steps";
    }
  }
  return { kind, expression: out };
}

/** Reads the part of Go's regexp syntax that `translate` can write. */
function parseExpression(expression: readonly string[]): readonly PatternStep[] | undefined {
  const steps: PatternStep[] = [];
  for (let at = 0; at < expression.length;) {
    const char = expression[at] ?? "";
    if (char === "^") {
      steps.push({ kind: "begin" });
      at += 1;
      continue;
    }
    if (char === "(") {
      steps.push({ kind: "deep" });
      at += DEEP.length;
      continue;
    }
    const atom = parseAtom(expression, at);
    if (!atom) return undefined;
    const repeated = expression[atom.end] === "*";
    steps.push({ kind: repeated ? "many" : "one", set: atom.set });
    at = repeated ? atom.end + 1 : atom.end;
  }
  return steps;
}

interface Atom {
  readonly set: RuneSet;
  readonly end: number;
}

function parseAtom(expression: readonly string[], at: number): Atom | undefined {
  const char = expression[at] ?? "";
  if (char === "[") return parseClass(expression, at + 1);
  if (char === ".") return { set: NOT_NEWLINE, end: at + 1 };
  const perl = char === "\\" ? CLASS_ESCAPES[expression[at + 1] ?? ""] : undefined;
  if (perl) return { set: perl, end: at + 2 };
  const rune = parseRune(expression, at);
  return rune && { set: { negated: false, ranges: [rune.rune, rune.rune] }, end: rune.end };
}

/** A bracketed class whose text begins at `from`, after the bracket. */
function parseClass(expression: readonly string[], from: number): Atom | undefined {
  const negated = expression[from] === "^";
  const start = negated ? from + 1 : from;
  const ranges: number[] = [];
  let at = start;
  while (at < expression.length && (expression[at] !== "]" || at === start)) {
    const named = parseNamedClass(expression, at);
    if (!named) return undefined;
    if (named.end > at) {
      ranges.push(...named.ranges);
      at = named.end;
      continue;
    }
    const low = parseRune(expression, at);
    if (!low) return undefined;
    at = low.end;
    const isRange = expression[at] === "-" && at + 1 < expression.length && expression[at + 1] !== "]";
    const high = isRange ? parseRune(expression, at + 1) : low;
    if (!high || high.rune < low.rune) return undefined;
    ranges.push(low.rune, high.rune);
    at = high.end;
  }
  if (at >= expression.length) return undefined;
  const isNotSlash = negated && ranges.length === 2 && ranges[0] === 0x2f && ranges[1] === 0x2f;
  return { set: isNotSlash ? NOT_SLASH : { negated, ranges }, end: at + 1 };
}

/** `[:alpha:]` or `\d` inside a class; `end` equals `at` when there is none, undefined for a name Go does not know. */
function parseNamedClass(
  expression: readonly string[],
  at: number,
): { readonly ranges: readonly number[]; readonly end: number } | undefined {
  const perl = expression[at] === "\\" ? CLASS_ESCAPES[expression[at + 1] ?? ""] : undefined;
  if (perl) return { ranges: perl.negated ? complement(perl.ranges) : perl.ranges, end: at + 2 };
  if (expression[at] !== "[" || expression[at + 1] !== ":") return { ranges: [], end: at };
  let close = at + 2;
  while (close < expression.length && !(expression[close] === ":" && expression[close + 1] === "]"))
    close += 1;
  if (close >= expression.length) return { ranges: [], end: at };
  const name = expression.slice(at + 2, close).join("");
  const ranges = POSIX_CLASSES[name.startsWith("^") ? name.slice(1) : name];
  return ranges && { ranges: name.startsWith("^") ? complement(ranges) : ranges, end: close + 2 };
}

function complement(ranges: readonly number[]): readonly number[] {
  const out: number[] = [];
  let next = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    const low = ranges[i] ?? 0;
    if (low > next) out.push(next, low - 1);
    next = (ranges[i + 1] ?? 0) + 1;
  }
  return [...out, next, 0x10ffff];
}

/** One character, escaped or not. */
function parseRune(
  expression: readonly string[],
  at: number,
): { readonly rune: number; readonly end: number } | undefined {
  const char = expression[at];
  if (char === undefined) return undefined;
  if (char !== "\\") return { rune: char.codePointAt(0) ?? 0, end: at + 1 };
  const escaped = expression[at + 1];
  if (escaped === undefined) return undefined;
  const control = CONTROL_ESCAPES[escaped];
  if (control !== undefined) return { rune: control, end: at + 2 };
  // Go takes other escaped letters, digits and all beyond ASCII for syntax of more than one character, or refuses them.
  const rune = escaped.codePointAt(0) ?? 0;
  return rune >= 0x80 || /[\dA-Za-z]/.test(escaped) ? undefined : { rune, end: at + 2 };
}

/** True when a set has a character. */
export function setHas(set: RuneSet, rune: number): boolean {
  const { ranges } = set;
  for (let i = 0; i < ranges.length; i += 2) {
    if (rune >= (ranges[i] ?? 0) && rune <= (ranges[i + 1] ?? 0)) return !set.negated;
  }
  return set.negated;
}

/** The only character of a set, or undefined. */
export function literalOf(step: PatternStep | undefined): number | undefined {
  if (step?.kind !== "one" || step.set.negated) return undefined;
  const { ranges } = step.set;
  return ranges.length === 2 && ranges[0] === ranges[1] ? ranges[0] : undefined;
}

/** True for `*` outside a class. */
export function isStar(step: PatternStep | undefined): boolean {
  return step?.kind === "many" && step.set === NOT_SLASH;
}
