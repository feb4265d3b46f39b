import type { BytePath } from "../fs/index.js";
import { bytesOf } from "../fs/index.js";

/** What Go puts in the place of a byte that is not UTF-8. */
export const RUNE_ERROR = 0xfffd;

// oxlint-disable-next-line no-control-regex -- the range is what "ASCII" means
const ASCII = /^[\u0000-\u007f]*$/;
const LONE_SURROGATE = /[\ud800-\udfff]/;

/**
 * The bytes of a pattern. Text, except that U+DC80 to U+DCFF stand for the single bytes 0x80 to 0xff, as `patternText`
 * makes them from bytes that are not UTF-8: so a pattern matches a name byte for byte whatever its encoding.
 */
export function patternBytes(text: string): string {
  if (!LONE_SURROGATE.test(text)) return bytesOf(text);
  let bytes = "";
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    bytes += code >= 0xdc80 && code <= 0xdcff ? String.fromCharCode(code - 0xdc00) : bytesOf(char);
  }
  return bytes;
}

/** The inverse of `patternBytes`. */
export function patternText(bytes: string): string {
  if (ASCII.test(bytes)) return bytes;
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const width = runeWidth(bytes, at);
    const code = bytes.charCodeAt(at);
    const valid = width > 1 || code < 0x80;
    text += valid ? String.fromCodePoint(runeAt(bytes, at)) : String.fromCharCode(0xdc00 + code);
    at += width;
  }
  return text;
}

/** The code points of a byte string as Go decodes UTF-8: every byte that is not part of a valid sequence is U+FFFD. */
export function runesOf(bytes: string): readonly number[] {
  const runes: number[] = [];
  for (let at = 0; at < bytes.length; at += runeWidth(bytes, at)) runes.push(runeAt(bytes, at));
  return runes;
}

/** The code point that starts at a byte; `RUNE_ERROR` for a byte that starts none. */
export function runeAt(bytes: string, at: number): number {
  const first = bytes.charCodeAt(at);
  const width = runeWidth(bytes, at);
  if (width === 1) return first < 0x80 ? first : RUNE_ERROR;
  let rune = first & (0x7f >> width);
  for (let i = 1; i < width; i += 1) rune = (rune << 6) | (bytes.charCodeAt(at + i) & 0x3f);
  return rune;
}

/** How many bytes `runeAt` reads: 1 to 4, and 1 for an invalid byte. */
export function runeWidth(bytes: string, at: number): number {
  const first = bytes.charCodeAt(at);
  if (first < 0xc2 || first > 0xf4) return 1;
  const width = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (let i = 1; i < width; i += 1) {
    const next = bytes.charCodeAt(at + i);
    if (!(next >= 0x80 && next <= 0xbf)) return 1;
  }
  const second = bytes.charCodeAt(at + 1);
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if ((first === 0xe0 && second < 0xa0) || (first === 0xed && second > 0x9f)) return 1;
  if ((first === 0xf0 && second < 0x90) || (first === 0xf4 && second > 0x8f)) return 1;
  return width;
}

const SPACE = /[\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Go's `strings.TrimSpace`, which knows U+0085 and not U+FEFF, unlike `String.trim`. */
export function trimSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && SPACE.test(text.charAt(start))) start += 1;
  while (end > start && SPACE.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/** Go's `filepath.Clean` on Unix: the shortest text for the same path, "." for none, ".." kept where it leads out. */
export function cleanGoPath(path: string): string {
  const rooted = path.startsWith("/");
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (!rooted) parts.push("..");
  }
  const joined = parts.join("/");
  return rooted ? `/${joined}` : joined || ".";
}

/** The paths of a path's parent directories, outermost first, without the root. */
export function parentsOf(path: BytePath): readonly BytePath[] {
  const parents: BytePath[] = [];
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
    parents.push(path.slice(0, at) as BytePath);
  return parents;
}
