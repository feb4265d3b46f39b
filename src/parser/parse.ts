import type { SourceText } from "../source.js";
import type { Containerfile, Instruction } from "./ast.js";

/** Part of the key under which an AST is kept on disk. Raise it whenever the same text yields another AST. */
export const PARSER_VERSION = 1;

/**
 * Parses a Containerfile. The first call loads the grammar (some 100 ms); time and memory are linear in the text.
 * Throws CooperError `syntax` with `source` and `diagnostics` of all errors; warnings come with the result.
 */
export async function parse(source: SourceText): Promise<Containerfile> {
  const { parseContainerfile } = await import("./containerfile.js");
  return parseContainerfile(source);
}

/**
 * Parses an ONBUILD trigger from an image's config: exactly one instruction, not FROM, ONBUILD or MAINTAINER; heredoc
 * bodies may follow it. Throws CooperError `syntax` as `parse` does.
 */
export async function parseTrigger(source: SourceText): Promise<Instruction> {
  const { parseTriggerText } = await import("./containerfile.js");
  return parseTriggerText(source);
}
