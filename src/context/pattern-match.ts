import { CooperError } from "../errors.js";
import { patternBytes, RUNE_ERROR, runeAt, runeWidth } from "./go-path.js";

/**
 * Go's `filepath.Match` on Unix, which COPY and ADD wildcards follow: `*` any bytes but "/", `?` one character but "/",
 * `[a-z]` and `[^a-z]` one character of a class ("/" too: Go does not except it), `\` takes the next one literally. The
 * whole path must match. No braces, no `**`. Both are text: the pattern as it stands in a Containerfile, `textOf` a path.
 * Cost: at most pattern times path. Throws `syntax` for a malformed pattern.
 */
export function matchPattern(pattern: string, path: string): boolean {
  const bytes = patternBytes(pattern);
  const matched = tryMatch(bytes, patternBytes(path));
  if (matched === undefined || (!matched && !isWellFormed(bytes)))
    throw new CooperError("syntax", `${JSON.stringify(pattern)} is not a valid pattern`);
  return matched;
}

/** True when a path names files by pattern: it has an unescaped `*`, `?` or `[`, or an escape. */
export function hasWildcard(path: string): boolean {
  return /[*?[\\]/.test(path);
}

/**
 * As `matchPattern`, over bytes on both sides; undefined for a malformed pattern. As in Go, what comes after a `*` is
 * not read when what comes before it does not match.
 */
export function tryMatch(pattern: string, path: string): boolean | undefined {
  let rest = path;
  for (let at = 0; at < pattern.length;) {
    const { star, start, end } = nextChunk(pattern, at);
    at = end;
    if (star && start === end) return !rest.includes("/");
    const skipped = matchSomewhere(pattern, start, end, rest, star);
    if (skipped === undefined) return undefined;
    if (skipped < 0) return false;
    rest = rest.slice(skipped);
  }
  return rest === "";
}

/** A run of stars and the text up to the next one. */
function nextChunk(
  pattern: string,
  from: number,
): { readonly star: boolean; readonly start: number; readonly end: number } {
  let start = from;
  while (pattern[start] === "*") start += 1;
  let inClass = false;
  let end = start;
  for (; end < pattern.length; end += 1) {
    const char = pattern[end];
    if (char === "\\" && end + 1 < pattern.length) end += 1;
    else if (char === "[") inClass = true;
    else if (char === "]") inClass = false;
    else if (char === "*" && !inClass) break;
  }
  return { star: start > from, start, end };
}

/**
 * Bytes of `text` up to the end of the chunk's first match (at 0, or with `star` after any bytes but "/"); -1 for no
 * match, undefined for a malformed chunk. The last chunk must reach the end of the text.
 */
function matchSomewhere(
  pattern: string,
  start: number,
  end: number,
  text: string,
  star: boolean,
): number | undefined {
  const isLast = end === pattern.length;
  for (let skip = 0; ; skip += 1) {
    const stop = matchChunk(pattern, start, end, text, skip);
    if (stop === undefined) return undefined;
    if (stop >= 0 && (!isLast || stop === text.length)) return stop;
    if (!star || skip >= text.length || text[skip] === "/") return -1;
  }
}

function isWellFormed(pattern: string): boolean {
  for (let at = 0; at < pattern.length;) {
    const { start, end } = nextChunk(pattern, at);
    if (matchChunk(pattern, start, end, "", 0) === undefined) return false;
    at = end;
  }
  return true;
}

/** Where in `text` the chunk ends when it matches at `from`; -1 when it does not, undefined when it is malformed. */
function matchChunk(
  pattern: string,
  start: number,
  end: number,
  text: string,
  from: number,
): number | undefined {
  let at = start;
  let pos = from;
  let failed = false;
  while (at < end) {
    // A failed match still reads the chunk to its end, since a malformed pattern is an error wherever it fails.
    failed ||= pos >= text.length;
    const char = pattern[at];
    if (char === "[") {
      const found = matchClass(pattern, at + 1, end, failed ? 0 : runeAt(text, pos));
      if (!found) return undefined;
      if (!failed) pos += runeWidth(text, pos);
      failed ||= !found.matched;
      at = found.end;
    } else if (char === "?") {
      failed ||= text[pos] === "/";
      if (!failed) pos += runeWidth(text, pos);
      at += 1;
    } else {
      if (char === "\\") at += 1;
      if (at >= end) return undefined;
      failed ||= pattern[at] !== text[pos];
      pos += 1;
      at += 1;
    }
  }
  return failed ? -1 : pos;
}

/** A class whose text starts at `from`, after the bracket; undefined when it is malformed. */
function matchClass(
  pattern: string,
  from: number,
  end: number,
  rune: number,
): { readonly matched: boolean; readonly end: number } | undefined {
  const negated = from < end && pattern[from] === "^";
  let at = negated ? from + 1 : from;
  let matched = false;
  for (let ranges = 0; !(ranges > 0 && at < end && pattern[at] === "]"); ranges += 1) {
    const low = classRune(pattern, at, end);
    if (!low) return undefined;
    at = low.end;
    const high = pattern[at] === "-" ? classRune(pattern, at + 1, end) : low;
    if (!high) return undefined;
    at = high.end;
    if (low.rune <= rune && rune <= high.rune) matched = true;
  }
  return { matched: matched !== negated, end: at + 1 };
}

/** One character of a class, escaped or not. The class must go on after it. */
function classRune(
  pattern: string,
  from: number,
  end: number,
): { readonly rune: number; readonly end: number } | undefined {
  let at = from;
  if (at >= end || pattern[at] === "-" || pattern[at] === "]") return undefined;
  if (pattern[at] === "\\") at += 1;
  if (at >= end) return undefined;
  const rune = runeAt(pattern, at);
  const width = runeWidth(pattern, at);
  if ((rune === RUNE_ERROR && width === 1) || at + width >= end) return undefined;
  return { rune, end: at + width };
}
