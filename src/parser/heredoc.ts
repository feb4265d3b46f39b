import type { Heredoc } from "./ast.js";
import { quoteEnd, skipBlanks, wordEnd } from "./characters.js";

/** `[fd]<<[-]WORD` in the one-line text of an instruction. */
export interface Opener {
  readonly start: number;
  readonly end: number;
  /** The delimiter without its quotes; never empty. */
  readonly name: string;
  readonly expand: boolean;
  readonly chomp: boolean;
}

const HEREDOC_INSTRUCTION = /^(?:onbuild[ \t\v\f\r]+)?(?:run|copy|add)(?![^ \t\v\f\r])/i;
/** The escape directive has no say in heredocs. */
const ESCAPE = "\\";

/**
 * The heredoc openers of an instruction, in order: words that begin with `[fd]<<` or `[fd]<<-`. Only blanks end a word,
 * so `cat <<EOF;` has the delimiter `EOF;`. The delimiter of `<<`, but not of `<<-`, may be the next word. In quotes
 * there are none, and none at all where a quote is never closed. Source: BuildKit's frontend, asked with examples.
 */
export function findOpeners(text: string): readonly Opener[] {
  if (!text.includes("<<")) return [];
  const head = HEREDOC_INSTRUCTION.exec(text);
  if (!head) return [];
  const openers: Opener[] = [];
  for (let at = head[0].length; at < text.length;) {
    const start = skipBlanks(text, at, text.length);
    const { end, unclosed } = wordEnd(text, start, ESCAPE);
    if (unclosed !== undefined) return [];
    const opener = openerAt(text, start, end);
    if (opener) openers.push(opener);
    at = opener?.end ?? Math.max(end, start + 1);
  }
  return openers;
}

function openerAt(text: string, start: number, wordStop: number): Opener | undefined {
  const operator = /\d*<<-?/y;
  operator.lastIndex = start;
  const found = operator.exec(text)?.[0];
  if (found === undefined) return undefined;
  const chomp = found.endsWith("-");
  let from = start + found.length;
  let end = wordStop;
  if (from === end && !chomp) {
    from = skipBlanks(text, from, text.length);
    const next = wordEnd(text, from, ESCAPE);
    if (next.unclosed !== undefined) return undefined;
    ({ end } = next);
  }
  const delimiter = text.slice(from, end);
  const name = unquoted(delimiter);
  if (name === "" || delimiter.includes("<")) return undefined;
  return { start, end, name, expand: !/["']/.test(delimiter), chomp };
}

function unquoted(text: string): string {
  const parts: string[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? "";
    if (char === "'" || char === '"') {
      const close = quoteEnd(text, at, ESCAPE);
      const inner = text.slice(at + 1, close);
      parts.push(char === '"' ? inner.replace(/\\([\\"$`])/g, "$1") : inner);
      at = close;
    } else parts.push(char === ESCAPE ? (text[++at] ?? "") : char);
  }
  return parts.join("");
}

/** The body of a `<<-` heredoc: every line without its leading tabs. */
export function chompTabs(body: string): string {
  return body.replace(/(^|\n)\t+/g, "$1");
}

/** An instruction's one-line text followed by its heredocs, as a shell or another parser reads it. No final newline. */
export function withBodies(text: string, heredocs: readonly Heredoc[]): string {
  return [text, ...heredocs.map((heredoc) => heredoc.body + heredoc.name)].join("\n");
}
