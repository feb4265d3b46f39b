import type { Span } from "../source.js";

const NEWLINE = 10;
const RETURN = 13;
const BYTE_ORDER_MARK = 0xfeff;

/** The physical lines of a text, numbered from 0. Lines end in `\n` only; a `\r` before it is no part of the line. */
export interface LineTable {
  readonly text: string;
  readonly count: number;
  /** Offset of the line's first character; on line 0 the one after a byte order mark. */
  start(line: number): number;
  /** Offset after the line's last character, line end excluded. */
  end(line: number): number;
  /** Offset where the next line begins, or the text's length. */
  next(line: number): number;
  /** The line that holds an offset. O(log lines). */
  lineAt(offset: number): number;
  /** The half-open range `[start, end)` with its 1-based line and column. O(log lines). */
  span(start: number, end: number): Span;
}

export function lineTable(text: string): LineTable {
  const starts = lineStarts(text);
  const start = (line: number): number => starts[line] ?? text.length;
  const next = (line: number): number => starts[line + 1] ?? text.length;
  function end(line: number): number {
    let at = next(line);
    if (text.charCodeAt(at - 1) === NEWLINE) at--;
    while (at > start(line) && text.charCodeAt(at - 1) === RETURN) at--;
    return Math.max(at, start(line));
  }
  function span(from: number, to: number): Span {
    const line = lineAt(starts, from);
    const endLine = to > from ? lineAt(starts, to - 1) : line;
    const column = Math.max(from - start(line), 0) + 1;
    return { start: from, end: to, line: line + 1, column, endLine: endLine + 1 };
  }
  return { text, count: starts.length, start, end, next, lineAt: (offset) => lineAt(starts, offset), span };
}

/** Text that ends in a newline has no empty line after it. */
function lineStarts(text: string): Uint32Array {
  let count = 1;
  for (let at = 0; at + 1 < text.length; at++) if (text.charCodeAt(at) === NEWLINE) count++;
  const starts = new Uint32Array(count);
  let line = 1;
  for (let at = 0; line < count; at++) if (text.charCodeAt(at) === NEWLINE) starts[line++] = at + 1;
  if (text.charCodeAt(0) === BYTE_ORDER_MARK) starts[0] = 1;
  return starts;
}

function lineAt(starts: Uint32Array, offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
