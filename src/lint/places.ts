import type { Flag, Heredoc, Instruction, Word } from "../parser/index.js";
import type { SourceText, Span } from "../source.js";

/** The range `[start, end)` of a text; `near` is a span that does not begin after it. O(distance). */
export function spanAt({ text }: SourceText, near: Span, start: number, end: number): Span {
  const line = near.line + newlines(text, near.start, start);
  const endLine = line + newlines(text, start, Math.max(start, end - 1));
  return { start, end, line, column: columnAt(text, near, start, line), endLine };
}

/** A line can be a megabyte long, so its beginning is looked for only where `near` is on another one. */
function columnAt(text: string, near: Span, start: number, line: number): number {
  if (line === near.line) return near.column + start - near.start;
  return start - text.lastIndexOf("\n", start - 1);
}

function newlines(text: string, from: number, to: number): number {
  const part = text.slice(from, to);
  let count = 0;
  for (let at = part.indexOf("\n"); at >= 0; at = part.indexOf("\n", at + 1)) count++;
  return count;
}

export function sourceOf({ text }: SourceText, span: Span): string {
  return text.slice(span.start, span.end);
}

/** Where `word.text.slice(start, end)` stands; the whole word when it is not written as its text (JSON, continued lines). */
export function partOf(source: SourceText, word: Word, start: number, end: number): Span {
  if (sourceOf(source, word.span) !== word.text) return word.span;
  return spanAt(source, word.span, word.span.start + start, word.span.start + end);
}

/** A flag's value as a word: its place where it is written plainly, else the whole flag's. */
export function flagWord(source: SourceText, flag: Flag): Word | undefined {
  const { value, span } = flag;
  if (value === undefined) return undefined;
  const plain = sourceOf(source, span) === `--${flag.name}=${value}`;
  return { text: value, span: plain ? spanAt(source, span, span.end - value.length, span.end) : span };
}

/** The keyword of an instruction as written; `plain` when it stands in one piece. */
export function keywordOf(
  source: SourceText,
  { span, text, kind }: Instruction,
): { readonly text: string; readonly span: Span; readonly plain: boolean } {
  const word = text.slice(0, kind.length);
  const plain = source.text.startsWith(word, span.start);
  const end = span.start + (plain ? word.length : 1);
  return { text: word, span: spanAt(source, span, span.start, end), plain };
}

/** The body of a heredoc, and where a range of it stands: at the opener when the body is not written as its text. */
export interface HeredocBody {
  readonly heredoc: Heredoc;
  readonly place: (start: number, end: number) => Span;
}

/** The bodies of the heredocs of one instruction. */
export function bodiesOf(source: SourceText, heredocs: readonly Heredoc[]): readonly HeredocBody[] {
  let from = heredocs[0] ? source.text.indexOf("\n", heredocs[0].span.end) + 1 : 0;
  return heredocs.map((heredoc): HeredocBody => {
    const { body, chomp, span } = heredoc;
    const at = chomp ? -1 : source.text.indexOf(body, from);
    if (at < 0) return { heredoc, place: () => span };
    from = at + body.length;
    return { heredoc, place: (start, end) => spanAt(source, span, at + start, at + end) };
  });
}
