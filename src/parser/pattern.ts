import { CooperError } from "../errors.js";

/** The longest pattern, in code points: matching costs value times pattern. */
const LONGEST_PATTERN = 1024;
const ANY = -1;
const NEWLINE = 10;

/**
 * A pattern of `${v#p}`, `${v%p}` or `${v/p/r}`: the literal stretches between its `*`, as code points with ANY for `?`.
 * One `*` makes two stretches. Neither `*` nor `?` matches a line end. Source: BuildKit's word expansion.
 */
export type Pattern = readonly (readonly number[])[];

/** What a pattern matched, as offsets `[start, end)` in code points. */
interface Match {
  readonly start: number;
  readonly end: number;
}

/**
 * The pattern that a text spells out: `\*`, `\?`, `\\`, `\/` and `\}` stand for the second character, brackets for
 * themselves. Throws `syntax` for a backslash before anything else, and for patterns of more than 1024 characters.
 */
export function readPattern(text: string): Pattern {
  const stretches: number[][] = [[]];
  const chars = codePoints(text);
  if (chars.length > LONGEST_PATTERN)
    throw new CooperError("syntax", `a pattern is longer than ${LONGEST_PATTERN} characters`);
  for (let at = 0; at < chars.length; at++) {
    const char = charAt(chars, at);
    const literal = char === "\\" ? charAt(chars, ++at) : char;
    if (char === "\\" && (literal === "" || !"*?\\/}".includes(literal))) {
      const where = literal === "" ? "at its end" : `before "${literal}"`;
      const message = `the pattern "${text}" has a backslash ${where}; it may stand only before * ? \\ / and }`;
      throw new CooperError("syntax", message);
    }
    if (char === "*") stretches.push([]);
    else stretches.at(-1)?.push(char === "?" ? ANY : (literal.codePointAt(0) ?? 0));
  }
  return stretches;
}

function charAt(chars: readonly number[], at: number): string {
  const char = chars[at];
  return char === undefined ? "" : String.fromCodePoint(char);
}

/** The value without its shortest (or longest) prefix that the pattern matches. O(value × pattern). */
export function removePrefix(value: string, pattern: Pattern, longest: boolean): string {
  const [, rest = value] = splitPrefix(value, pattern, longest);
  return rest;
}

/** The value without its shortest (or longest) suffix that the pattern matches. */
export function removeSuffix(value: string, pattern: Pattern, longest: boolean): string {
  const [rest = value] = splitSuffix(value, pattern, longest);
  return rest;
}

/** What stands around the prefix that the pattern matches: nothing and the rest; the whole value when it matches none. */
export function splitPrefix(value: string, pattern: Pattern, longest: boolean): readonly string[] {
  const chars = codePoints(value);
  const end = new Matcher(chars, pattern).endFrom(0, longest);
  return end === undefined ? [value] : ["", textOf(chars.slice(end))];
}

/** As `splitPrefix`, for the suffix. */
export function splitSuffix(value: string, pattern: Pattern, longest: boolean): readonly string[] {
  const chars = codePoints(value).toReversed();
  const mirrored = pattern.toReversed().map((stretch) => stretch.toReversed());
  const end = new Matcher(chars, mirrored).endFrom(0, longest);
  return end === undefined ? [value] : [textOf(chars.slice(end).toReversed()), ""];
}

/**
 * The stretches of the value around what the pattern matches, leftmost and longest: once, or everywhere. A match of
 * nothing right behind another match does not count.
 */
export function splitByPattern(value: string, pattern: Pattern, everywhere: boolean): readonly string[] {
  const chars = codePoints(value);
  const matcher = new Matcher(chars, pattern);
  const around: string[] = [];
  let taken = 0;
  for (let from = 0; from <= chars.length;) {
    const found = matcher.find(from);
    if (!found) break;
    if (found.end > taken || found.start === 0) {
      around.push(textOf(chars.slice(taken, found.start)));
      taken = found.end;
      if (!everywhere) break;
    }
    from = Math.max(found.end, from + 1);
  }
  around.push(textOf(chars.slice(taken)));
  return around;
}

/**
 * Finds matches from left to right. Taking each middle stretch where it occurs first leaves the most room for the last
 * one, whose first or last occurrence then makes the match shortest or longest. What was found for an earlier start
 * still holds for later ones, so that all starts together cost value times pattern.
 */
class Matcher {
  /** For each stretch behind a `*`, its first occurrence from the place last asked for. */
  private readonly occurrences: number[] = [];
  /** For each offset, the first line end from there. */
  private readonly lineEnds: Uint32Array;

  private readonly chars: readonly number[];
  private readonly pattern: Pattern;

  constructor(chars: readonly number[], pattern: Pattern) {
    this.chars = chars;
    this.pattern = pattern;
    const lineEnds = new Uint32Array(chars.length + 1).fill(chars.length);
    for (let at = chars.length - 1; at >= 0; at--) {
      lineEnds[at] = chars[at] === NEWLINE ? at : (lineEnds[at + 1] ?? at);
    }
    this.lineEnds = lineEnds;
  }

  find(from: number): Match | undefined {
    const [first = []] = this.pattern;
    for (let start = this.search(first, from); start >= 0; start = this.search(first, start + 1)) {
      const end = this.endFrom(start, true);
      if (end !== undefined) return { start, end };
      if (this.occurrences.includes(-1)) return undefined;
    }
    return undefined;
  }

  endFrom(start: number, longest: boolean): number | undefined {
    const [first = [], ...rest] = this.pattern;
    if (!this.matchesAt(first, start)) return undefined;
    let at = start + first.length;
    for (const [index, stretch] of rest.entries()) {
      const found = this.next(index, stretch, at);
      const limit = this.lineEnds[at] ?? at;
      if (found < 0 || found > limit) return undefined;
      const last = longest && index === rest.length - 1;
      at = (last ? this.searchBack(stretch, limit) : found) + stretch.length;
    }
    return at;
  }

  private next(index: number, stretch: readonly number[], from: number): number {
    const known = this.occurrences[index];
    if (known !== undefined && (known < 0 || known >= from)) return known;
    return (this.occurrences[index] = this.search(stretch, from));
  }

  private search(stretch: readonly number[], from: number): number {
    const last = this.chars.length - stretch.length;
    for (let at = from; at <= last; at++) if (this.matchesAt(stretch, at)) return at;
    return -1;
  }

  /** The last occurrence up to `limit`; there is one. */
  private searchBack(stretch: readonly number[], limit: number): number {
    let at = limit;
    while (!this.matchesAt(stretch, at)) at--;
    return at;
  }

  private matchesAt(stretch: readonly number[], at: number): boolean {
    const { chars } = this;
    if (at + stretch.length > chars.length) return false;
    for (let index = 0; index < stretch.length; index++) {
      const char = chars[at + index];
      if (stretch[index] === ANY ? char === NEWLINE : stretch[index] !== char) return false;
    }
    return true;
  }
}

function codePoints(text: string): readonly number[] {
  return Array.from(text, (char) => char.codePointAt(0) ?? 0);
}

function textOf(chars: readonly number[]): string {
  const parts: string[] = [];
  for (let at = 0; at < chars.length; at += 4096)
    parts.push(String.fromCodePoint(...chars.slice(at, at + 4096)));
  return parts.join("");
}
