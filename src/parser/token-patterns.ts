import type { CustomPatternMatcherFunc } from "chevrotain";
import { type Escape, isBlank, unclosedQuote, wordEnd } from "./characters.js";

/** What a token found out about itself. */
export interface TokenPayload {
  /** Offset of a quote that is never closed. */
  readonly unclosed?: number;
}

export type Match = ReturnType<CustomPatternMatcherFunc>;

// Quoted things are matched by code: a regular expression with an alternative inside a repetition exhausts its stack
// on a megabyte.

/** A word in which quotes and escapes protect blanks. */
export function quotedWord(text: string, offset: number, escape: Escape): Match {
  const { end, unclosed } = wordEnd(text, offset, escape);
  return end === offset ? null : withPayload(text.slice(offset, end), unclosed);
}

/** The part of a `name=value` word before its first `=`, which quotes do not protect; else all of the word. */
export function pairKey(text: string, offset: number, escape: Escape): Match {
  const { end } = wordEnd(text, offset, escape);
  if (end === offset) return null;
  const equals = text.slice(offset, end).indexOf("=");
  const key = equals < 0 ? text.slice(offset, end) : text.slice(offset, offset + equals);
  if (key === "") return null;
  const unclosed = unclosedQuote(key, 0, escape);
  return withPayload(key, unclosed === undefined ? undefined : offset + unclosed);
}

export function withPayload(image: string, unclosed: number | undefined): Match {
  const payload: TokenPayload = unclosed === undefined ? {} : { unclosed };
  return Object.assign([image] as [string], { payload });
}

/** `--` and nothing more. */
export function isBareDashes(text: string, offset: number): boolean {
  const end = offset + 2;
  return text.startsWith("--", offset) && (end >= text.length || isBlank(text.charCodeAt(end)));
}

/** A JSON string, valid by itself. */
export function jsonString(text: string, offset: number): Match {
  if (text[offset] !== '"') return null;
  const end = jsonStringEnd(text, offset);
  return end < text.length ? validJson(text.slice(offset, end + 1)) : null;
}

/** A JSON value that is no string, valid by itself: then the text is an array all the same, and a wrong one. */
export function jsonOther(text: string, offset: number): Match {
  let depth = 0;
  let at = offset;
  for (; at < text.length; at++) {
    const char = text[at] ?? "";
    if (char === '"') at = jsonStringEnd(text, at);
    else if (char === "[" || char === "{") depth++;
    else if (depth > 0 && (char === "]" || char === "}")) {
      if (--depth === 0) return validJson(text.slice(offset, at + 1));
    } else if (depth === 0 && (char === "," || char === "]" || isBlank(char.charCodeAt(0)))) break;
  }
  return at === offset ? null : validJson(text.slice(offset, at));
}

function jsonStringEnd(text: string, open: number): number {
  let at = open + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

function validJson(image: string): Match {
  try {
    JSON.parse(image);
    return [image];
  } catch {
    return null;
  }
}
