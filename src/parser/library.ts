import type { Analysis } from "./ast.js";
import { expandWord, expandWords, type Lookup } from "./expand.js";
import { analyze } from "./parse.js";
import { sourceText } from "./source-text.js";

/** The value of each variable, or a function that gives it; undefined when it is not set. */
export type Variables = Readonly<Record<string, string | undefined>> | Lookup;

export interface ParseTextOptions {
  /** What the file is called in messages; `Containerfile` by default. */
  readonly name?: string;
}

export interface ExpandTextOptions {
  /** The file's escape character, `\` by default. */
  readonly escape?: "\\" | "`";
}

/**
 * Reads a Containerfile, whatever is wrong with it: the AST has an INVALID node for each instruction that could not be
 * read, and `diagnostics` tells every error and warning with its place, in the order of the text. Never rejects for what
 * is in the text; bytes that are no UTF-8 reject with CooperError `syntax` and their place. The first call loads the
 * grammar, some 100 ms.
 */
export async function parseText(
  text: string | Uint8Array,
  options: ParseTextOptions = {},
): Promise<Analysis> {
  const name = options.name ?? "Containerfile";
  return analyze(typeof text === "string" ? { name, text } : sourceText(name, text));
}

/** A word with its variables replaced, its quotes and escapes removed. Throws CooperError `syntax`, as for `${v?message}`. */
export function expandText(word: string, variables: Variables, options: ExpandTextOptions = {}): string {
  return expandWord(word, lookupOf(variables), { escape: options.escape ?? "\\" });
}

/** As `expandText`, the result split at the blanks that stand in no quotes. */
export function expandTextWords(
  word: string,
  variables: Variables,
  options: ExpandTextOptions = {},
): readonly string[] {
  return expandWords(word, lookupOf(variables), { escape: options.escape ?? "\\" });
}

function lookupOf(variables: Variables): Lookup {
  if (typeof variables === "function") return variables;
  return (name) => (Object.hasOwn(variables, name) ? variables[name] : undefined);
}
