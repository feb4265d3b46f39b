/**
 * parser/ turns the text of a Containerfile into an AST, or into diagnostics, prints ASTs, and expands words.
 *
 * - The AST is plain JSON: it may be stored under the digest of the text and PARSER_VERSION. Every node has its place.
 * - All errors of a text are found: `parse` throws them at once, `analyze` returns them beside what could be read.
 *   Nothing is dropped in silence: what the language ignores is a warning, what it does not have is an error. Line
 *   length is not limited; time is linear in the text.
 * - Importing this door loads no grammar; the functions of parse.ts do, the first time.
 * - The way of a text: line-table, directives, logical-lines (continuations, heredocs) cut it into instructions;
 *   tokens and grammar (chevrotain) place the words of one; meaning and flags judge them.
 * - It reads no files, fetches no `# syntax=` image, knows no stages, and does not decide what a build supports.
 */
export type * from "./ast.js";
export { parseDuration } from "./duration.js";
export { expandHeredoc, expandWord, expandWords, type ExpandOptions, type Lookup } from "./expand.js";
export { withBodies } from "./heredoc.js";
export { analyze, parse, PARSER_VERSION, parseTrigger, print } from "./parse.js";
export type * from "./run-mount.js";
export { checkRunMount, mountFrom, mountRelabels, mountWish, parseRunMount } from "./run-mount.js";
export {
  type ExpandTextOptions,
  expandText,
  expandTextWords,
  parseText,
  type ParseTextOptions,
  type Variables,
} from "./library.js";
export { sourceText } from "./source-text.js";
export { nearest } from "./suggest.js";
