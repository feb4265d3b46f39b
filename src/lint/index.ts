/**
 * lint/ tells what a Containerfile that builds may still have wrong with it.
 *
 * - Rules have BuildKit's names and fire where BuildKit's do, so that suppressions (`# check=skip=…`) port; those of our own
 *   are marked so in the table. A finding's place is the word that it is about.
 * - A rule that needs something from outside the text (a base image's environment, the ignore file) is given it as a fact,
 *   and says nothing where the fact is not known.
 * - A fix stands only where it is certain and the image stays the same; after it the rule has nothing more to say.
 * - The way of a file: the rules about the text (`rules/`) read it once; those about stages are handed each instruction with
 *   the variables it sees (`walk`); `check` says which findings count; `lint` puts them in order.
 * - It reads no files, knows no images, and refuses nothing: what is an error in the language is parser/'s and builder/'s.
 */
export type { LintConfig } from "./check.js";
export type { BaseFacts, LintFacts } from "./facts.js";
export { applyFixes } from "./fix.js";
export { findInText, lint, LINT_VERSION, type LintOptions } from "./lint.js";
export type { Finding, Rule } from "./rule.js";
export { rules } from "./rules.js";
