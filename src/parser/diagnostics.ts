import { CooperError } from "../errors.js";
import type { Diagnostic, SourceText, Span } from "../source.js";
import { place } from "../source.js";

const SHOWN_TEXT = 60;

/** Everything found in one source text while it is parsed. */
export interface Findings {
  error(code: string, message: string, span: Span, hint?: string): void;
  warning(code: string, message: string, span: Span, hint?: string): void;
  errorCount(): number;
  /** Further errors are only counted: no need to find a hint for them. */
  isFull(): boolean;
  /** Warnings so far, in the order of the text. */
  warnings(): readonly Diagnostic[];
  /** The errors that are listed, in the order of the text; the last one counts those that are not. */
  errors(): readonly Diagnostic[];
  /** Throws CooperError `syntax` with every error found, the first of them in its message; returns when there is none. */
  throwErrors(): void;
}

/**
 * Errors beyond `limit` are counted and not listed: a megabyte of nonsense must not become a gigabyte of excerpts.
 */
export function collectFindings(source: SourceText, limit: number): Findings {
  const found: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  let count = 0;
  let unlisted: Span | undefined;
  function errors(): readonly Diagnostic[] {
    const listed = found.toSorted(byPlace);
    if (!unlisted) return listed;
    const rest = count - limit;
    const message = `${rest} more ${plural(rest)} from here on, not listed`;
    return [...listed, diagnostic("error", "TooManyErrors", message, unlisted)];
  }
  return {
    error(code, message, span, hint) {
      count++;
      if (count <= limit) found.push(diagnostic("error", code, message, span, hint));
      else unlisted ??= span;
    },
    warning(code, message, span, hint) {
      warnings.push(diagnostic("warning", code, message, span, hint));
    },
    errorCount: () => count,
    isFull: () => count >= limit,
    warnings: () => warnings.toSorted(byPlace),
    errors,
    throwErrors() {
      const diagnostics = errors();
      const [first] = diagnostics;
      if (!first) return;
      const more = count > 1 ? ` (+${count - 1} more ${plural(count - 1)})` : "";
      throw new CooperError("syntax", `${place(source, first.span)}: ${first.message}${more}`, {
        source,
        span: first.span,
        diagnostics,
        ...(first.hint === undefined ? {} : { hint: first.hint }),
      });
    },
  };
}

/** Errors and warnings in the order of the text. */
export function inOrder(
  errors: readonly Diagnostic[],
  warnings: readonly Diagnostic[],
): readonly Diagnostic[] {
  return [...errors, ...warnings].toSorted(byPlace);
}

/** Text of the user in double quotes, cut to a length that fits a message. */
export function quoted(text: string): string {
  return `"${text.length > SHOWN_TEXT ? `${text.slice(0, SHOWN_TEXT)}…` : text}"`;
}

function diagnostic(
  severity: "error" | "warning",
  code: string,
  message: string,
  span: Span,
  hint?: string,
): Diagnostic {
  return { code, severity, message, span, ...(hint === undefined ? {} : { hint }) };
}

function byPlace(a: Diagnostic, b: Diagnostic): number {
  return a.span.start - b.span.start;
}

function plural(count: number): string {
  return count === 1 ? "error" : "errors";
}
