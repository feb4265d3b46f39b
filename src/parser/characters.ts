/** The character that escapes and that continues a line; set by the `escape` directive. */
export type Escape = "\\" | "`";

/** Space, tab, vertical tab, form feed, carriage return: what separates words. A newline never reaches a word. */
export function isBlank(code: number): boolean {
  return code === 32 || code === 9 || code === 11 || code === 12 || code === 13;
}

/** The first offset in `[from, end)` that holds no blank, else `end`. */
export function skipBlanks(text: string, from: number, end: number): number {
  let at = from;
  while (at < end && isBlank(text.charCodeAt(at))) at++;
  return at;
}

/** The end of `[from, end)` without its trailing blanks. */
export function trimEnd(text: string, from: number, end: number): number {
  let at = end;
  while (at > from && isBlank(text.charCodeAt(at - 1))) at--;
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
 * The end of the word at `from`: the first blank, or character of `stops`, that stands in no quotes. Inside double
 * quotes and outside of quotes the escape character protects the character after it; inside single quotes nothing does.
 */
export function wordEnd(text: string, from: number, escape: Escape, stops = ""): WordEnd {
  let at = from;
  while (at < text.length) {
    const char = text[at] ?? "";
    if (char === "'" || char === '"') {
      const close = quoteEnd(text, at, escape);
      if (close < 0) return { end: text.length, unclosed: at };
      at = close + 1;
    } else if (char === escape) at += 2;
    else if (isBlank(char.charCodeAt(0)) || stops.includes(char)) break;
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
