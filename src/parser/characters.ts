/** The character that escapes and that continues a line; set by the `escape` directive. */
export type Escape = "\\" | "`";

/** Space, tab, vertical tab, form feed, carriage return: what separates words. A newline never reaches a word. */
export function isBlank(code: number): boolean {
  return code === 32 || code === 9 || code === 11 || code === 12 || code === 13;
}

/** A blank of Unicode, no-break spaces among them: these surround instructions and end the words of ENV, LABEL and ARG. */
export function isSpace(code: number): boolean {
  if (code < 0x80) return isBlank(code);
  if (code === 0x85 || code === 0xa0 || code === 0x1680) return true;
  return (code >= 0x2000 && code <= 0x200a) || [0x2028, 0x2029, 0x202f, 0x205f, 0x3000].includes(code);
}

/** The first offset in `[from, end)` that holds no space, else `end`. */
export function skipBlanks(text: string, from: number, end: number): number {
  let at = from;
  while (at < end && isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** The end of `[from, end)` without its trailing spaces. */
export function trimEnd(text: string, from: number, end: number): number {
  let at = end;
  while (at > from && isSpace(text.charCodeAt(at - 1))) at--;
  return at;
}

/** The offset of the first blank at or after `from`, else the text's length. */
export function blankAfter(text: string, from: number): number {
  let at = from;
  while (at < text.length && !isBlank(text.charCodeAt(at))) at++;
  return at;
}

/** Where a quoted or plain word ends, and the offset of a quote in it that is never closed. */
export interface WordEnd {
  readonly end: number;
  readonly unclosed?: number;
}

/**
 * The end of the word at `from`: the first space that stands in no quotes. Inside double
 * quotes and outside of quotes the escape character protects the character after it; inside single quotes nothing does.
 */
export function wordEnd(text: string, from: number, escape: Escape): WordEnd {
  let at = from;
  while (at < text.length) {
    const char = text[at] ?? "";
    if (char === "'" || char === '"') {
      const close = quoteEnd(text, at, escape);
      if (close < 0) return { end: text.length, unclosed: at };
      at = close + 1;
    } else if (char === escape) at += 2;
    else if (isSpace(char.charCodeAt(0))) break;
    else at++;
  }
  return { end: Math.min(at, text.length) };
}

/** The offset of the quote that closes the one at `open`, or -1. */
export function quoteEnd(text: string, open: number, escape: Escape): number {
  const quote = text[open];
  if (quote === "'") return text.indexOf("'", open + 1);
  let at = open + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === escape ? 2 : 1;
  return at < text.length ? at : -1;
}

/** The offset of the first quote in the whole of `text` that is never closed. Blanks do not end the search. */
export function unclosedQuote(text: string, from: number, escape: Escape): number | undefined {
  let at = from;
  while (at < text.length) {
    const { end, unclosed } = wordEnd(text, at, escape);
    if (unclosed !== undefined) return unclosed;
    at = end + 1;
  }
  return undefined;
}
