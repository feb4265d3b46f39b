import type { SourceText } from "../source.js";
import type { Analysis, Containerfile, Instruction, PartialContainerfile } from "./ast.js";

/** Part of the key under which an AST is kept on disk. Raise it whenever the same text yields another AST. */
export const PARSER_VERSION = 5;

/**
 * Parses a Containerfile. The first call loads the grammar (some 100 ms); time and memory are linear in the text.
 * Throws CooperError `syntax` with `source` and `diagnostics` of all errors; warnings come with the result.
 */
export async function parse(source: SourceText): Promise<Containerfile> {
  const { parseContainerfile } = await import("./containerfile.js");
  return parseContainerfile(source);
}

/**
 * Reads as much of a Containerfile as there is, and finds everything that is wrong with it: broken instructions stay in
 * the result as INVALID. Never throws for what is in the text. Loads the grammar as `parse` does.
 */
export async function analyze(source: SourceText): Promise<Analysis> {
  const { analyzeContainerfile } = await import("./containerfile.js");
  return analyzeContainerfile(source);
}

/**
 * The text of a Containerfile that parses to an equal AST, places and warnings aside. Instructions are printed on one
 * line each: as they were written when their `text` still says what their fields say, else anew from the fields.
 * Comments stand where their spans are among those of the instructions. Loads the grammar as `parse` does.
 * Throws CooperError `syntax` for fields that no Containerfile can say, such as a command with a line end in it.
 */
export async function print(file: PartialContainerfile): Promise<string> {
  const { printContainerfile } = await import("./print.js");
  return printContainerfile(file);
}

/**
 * Parses an ONBUILD trigger from an image's config: exactly one instruction, not FROM, ONBUILD or MAINTAINER; heredoc
 * bodies may follow it. Throws CooperError `syntax` as `parse` does.
 */
export async function parseTrigger(source: SourceText): Promise<Instruction> {
  const { parseTriggerText } = await import("./containerfile.js");
  return parseTriggerText(source);
}
