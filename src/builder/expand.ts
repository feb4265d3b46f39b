import { withPlace } from "../errors.js";
import { expandWord } from "../parser/index.js";
import type { SourceText, Span } from "../source.js";

/** The text that an instruction comes from, and its escape character. */
export interface Expansion {
  readonly source: SourceText;
  readonly escape: "\\" | "`";
}

/** Expands a word; an error gets the word's place. */
export function expandAt(
  source: SourceText,
  word: { readonly text: string; readonly span: Span },
  escape: "\\" | "`",
  lookup: (name: string) => string | undefined,
): string {
  try {
    return expandWord(word.text, lookup, { escape });
  } catch (error) {
    throw withPlace(error, source, word.span);
  }
}
