/**
 * A pattern of `${v#p}`, `${v%p}` or `${v/p/r}`: the literal stretches between its `*`, as code points with ANY for `?`.
 * One `*` makes two stretches. Bracket expressions are literal text. Source: BuildKit's word expansion.
 */
export type Pattern = readonly (readonly number[])[];

export const ANY = -1;

/** The value without its shortest (or longest) prefix that the pattern matches. O(value × pattern). */
export function removePrefix(value: string, pattern: Pattern, longest: boolean): string {
  const chars = codePoints(value);
  const end = matchEnd(chars, pattern, 0, longest);
  return end < 0 ? value : textOf(chars.slice(end));
}

/** The value without its shortest (or longest) suffix that the pattern matches. */
export function removeSuffix(value: string, pattern: Pattern, longest: boolean): string {
  const chars = codePoints(value).toReversed();
  const mirrored = pattern.toReversed().map((stretch) => stretch.toReversed());
  const end = matchEnd(chars, mirrored, 0, longest);
  return end < 0 ? value : textOf(chars.slice(end).toReversed());
}

/** The stretches of the value around what the pattern matches, leftmost and longest: once, or everywhere. */
export function splitByPattern(value: string, pattern: Pattern, everywhere: boolean): readonly string[] {
  const [first = []] = pattern;
  if (pattern.length === 1 && first.length === 0) return [value];
  const chars = codePoints(value);
  const around: string[] = [];
  let at = 0;
  do {
    const start = findFrom(chars, first, at);
    // When the rest of the pattern is not found from here, it is not found from any later place either.
    const end = start < 0 ? -1 : matchEnd(chars, pattern, start, true);
    if (end < 0) break;
    around.push(textOf(chars.slice(at, start)));
    at = end;
  } while (everywhere && at < chars.length);
  around.push(textOf(chars.slice(at)));
  return around;
}

/**
 * Where a match that begins at `start` ends, or -1. Taking each middle stretch where it occurs first leaves the most
 * room for the last one, whose first or last occurrence then makes the match shortest or longest.
 */
function matchEnd(chars: readonly number[], pattern: Pattern, start: number, longest: boolean): number {
  const [first = [], ...rest] = pattern;
  if (!matchesAt(chars, first, start)) return -1;
  let at = start + first.length;
  for (const [index, stretch] of rest.entries()) {
    const last = longest && index === rest.length - 1;
    const found = last ? findLast(chars, stretch, at) : findFrom(chars, stretch, at);
    if (found < 0) return -1;
    at = found + stretch.length;
  }
  return at;
}

function matchesAt(chars: readonly number[], stretch: readonly number[], at: number): boolean {
  if (at + stretch.length > chars.length) return false;
  for (let index = 0; index < stretch.length; index++) {
    if (stretch[index] !== ANY && stretch[index] !== chars[at + index]) return false;
  }
  return true;
}

function findFrom(chars: readonly number[], stretch: readonly number[], from: number): number {
  for (let at = from; at + stretch.length <= chars.length; at++) if (matchesAt(chars, stretch, at)) return at;
  return -1;
}

function findLast(chars: readonly number[], stretch: readonly number[], from: number): number {
  for (let at = chars.length - stretch.length; at >= from; at--) if (matchesAt(chars, stretch, at)) return at;
  return -1;
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
