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
  return `${source.name}:${span.line}:${span.column}`;
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
  const gutter = `${String(span.line)} | `;
  const caret = `${" ".repeat(gutter.length - 2)}| ${" ".repeat(column - cut)}${"^".repeat(width)}`;
  return `${gutter}${shown.trimEnd()}\n${caret}`;
}

/** `file:line:column: error: message`, the excerpt, and the hint, joined by newlines. */
export function renderDiagnostic(source: SourceText, diagnostic: Diagnostic): string {
  const head = `${place(source, diagnostic.span)}: ${diagnostic.severity}: ${diagnostic.message}`;
  const hint = diagnostic.hint === undefined ? [] : [`hint: ${diagnostic.hint}`];
  return [head, excerpt(source, diagnostic.span), ...hint].join("\n");
}
