import { CooperError } from "../errors.js";
import type { Diagnostic, SourceText, Span } from "../source.js";
import { place } from "../source.js";

/** Errors beyond this number are counted and not listed: a megabyte of nonsense must not become a gigabyte of excerpts. */
const LISTED_ERRORS = 100;
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
  /** Throws CooperError `syntax` with every error found, the first of them in its message; returns when there is none. */
  throwErrors(): void;
}

export function collectFindings(source: SourceText): Findings {
  const errors: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  let count = 0;
  return {
    error(code, message, span, hint) {
      count++;
      if (count <= LISTED_ERRORS) errors.push(diagnostic("error", code, message, span, hint));
      else if (count === LISTED_ERRORS + 1) errors.push(diagnostic("error", "TooManyErrors", "", span));
    },
    warning(code, message, span, hint) {
      warnings.push(diagnostic("warning", code, message, span, hint));
    },
    errorCount: () => count,
    isFull: () => count >= LISTED_ERRORS,
    warnings: () => warnings.toSorted(byPlace),
    throwErrors() {
      const last = errors[LISTED_ERRORS];
      const rest = count - LISTED_ERRORS;
      const listed = errors.slice(0, LISTED_ERRORS).toSorted(byPlace);
      if (last) listed.push({ ...last, message: `${rest} more ${plural(rest)} from here on, not listed` });
      const [first] = listed;
      if (!first) return;
      const more = count > 1 ? ` (+${count - 1} more ${plural(count - 1)})` : "";
      throw new CooperError("syntax", `${place(source, first.span)}: ${first.message}${more}`, {
        source,
        span: first.span,
        diagnostics: listed,
        ...(first.hint === undefined ? {} : { hint: first.hint }),
      });
    },
  };
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
