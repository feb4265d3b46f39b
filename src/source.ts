/** A half-open range of one source text. Lines and columns count from 1, offsets (UTF-16 units) from 0. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
}

/** A text with the name users know it by (`Containerfile`, `stdin`, `ci/app.Containerfile`). */
export interface SourceText {
  readonly name: string;
  readonly text: string;
  /** The files that the text was joined from, in order; missing when it is one. */
  readonly parts?: readonly SourcePart[];
}

/** Where one file of a joined text begins. */
export interface SourcePart {
  readonly name: string;
  /** Offset of its first character. */
  readonly start: number;
  /** Number of its first line in the joined text. */
  readonly line: number;
}

/** Several texts as one, in order; each begins on a line of its own. A single text stays as it is. */
export function joinSources(sources: readonly SourceText[]): SourceText {
  const [only] = sources;
  if (only && sources.length === 1) return only;
  const parts: SourcePart[] = [];
  let text = "";
  let line = 1;
  for (const source of sources) {
    parts.push({ name: source.name, start: text.length, line });
    // Only at the very beginning of a text is a byte order mark one.
    const own = source.text.replace(/^\ufeff/, "");
    const ended = own === "" || own.endsWith("\n") ? own : `${own}\n`;
    text += ended;
    line += ended.split("\n").length - 1;
  }
  return { name: sources.map(({ name }) => name).join(" + "), text, parts };
}

/** A span's place as users know it: the file that it begins in, and the lines there. */
export function locate(
  source: SourceText,
  { start, line, column, endLine }: Span,
): { readonly name: string; readonly line: number; readonly column: number; readonly endLine: number } {
  const part = source.parts?.findLast((one) => one.start <= start);
  if (!part) return { name: source.name, line, column, endLine };
  return { name: part.name, line: line - part.line + 1, column, endLine: endLine - part.line + 1 };
}

export type Severity = "error" | "warning";

/** One finding about a source text, as data; `renderDiagnostic` makes it readable. */
export interface Diagnostic {
  readonly code: string;
  readonly severity: Severity;
  readonly message: string;
  readonly span: Span;
  readonly hint?: string;
  /** Edits that mend it without changing what the text means; only where that is certain. They do not overlap. */
  readonly fix?: readonly Edit[];
}

/** Replaces the text between two offsets (UTF-16 units) of a source. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** `file:line:column`, the form editors and terminals link. */
export function place(source: SourceText, span: Span): string {
  const { name, line, column } = locate(source, span);
  return `${name}:${line}:${column}`;
}

const EXCERPT_WIDTH = 120;

/**
 * The source line of a span with a caret line below it, both cut to a readable width around the span.
 * Tabs become single spaces so that the caret stands where it should; control characters are shown as `?`.
 */
export function excerpt(source: SourceText, span: Span): string {
  const begin = span.start === 0 ? 0 : source.text.lastIndexOf("\n", span.start - 1) + 1;
  const newline = source.text.indexOf("\n", begin);
  const line = source.text.slice(begin, newline < 0 ? undefined : newline);
  const column = span.start - begin;
  const cut = Math.max(0, column - EXCERPT_WIDTH / 2);
  const shown = line
    .slice(cut, cut + EXCERPT_WIDTH)
    .replace(/[\p{Cc}\p{Cf}]/gu, (c) => (c === "\t" ? " " : "?"));
  const width = Math.max(1, Math.min(span.end - span.start, shown.trimEnd().length - (column - cut)));
  const gutter = `${locate(source, span).line} | `;
  const caret = `${" ".repeat(gutter.length - 2)}| ${" ".repeat(column - cut)}${"^".repeat(width)}`;
  return `${gutter}${shown.trimEnd()}\n${caret}`;
}

/** `file:line:column: error: message`, the excerpt, and the hint, joined by newlines. */
export function renderDiagnostic(source: SourceText, diagnostic: Diagnostic): string {
  const head = `${place(source, diagnostic.span)}: ${diagnostic.severity}: ${diagnostic.message}`;
  const hint = diagnostic.hint === undefined ? [] : [`hint: ${diagnostic.hint}`];
  return [head, excerpt(source, diagnostic.span), ...hint].join("\n");
}
