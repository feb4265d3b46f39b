/**
 * context/ owns which files of the build context a build may see, and their digests.
 *
 * - One ignore file is in force, the first of a list of places (`findIgnoreFile`), and is read only where it may lie.
 * - One matcher decides what is hidden, by the rule of BuildKit's walk: going down a path, the last line that matches and
 *   changes what was decided so far wins; a line that would change nothing is forgotten below. (So after `a`, `!a/b`,
 *   `a` there is a/b.) Meant to be otherwise: `!a/*\/**` finds what lies below, where BuildKit does not look; `|` and
 *   `{2}` are text. Time is linear in pattern and path. What moby refuses as malformed is refused here, before anything
 *   is read.
 * - A hidden directory exists only while it holds something re-included; it is entered only when a `!` could match below.
 * - Bytes come only from regular files that are still what `lstat` said and still where they were: a file that changed,
 *   or was reached through a swapped link, is an error. Nothing is followed, nothing blocks. Sockets do not exist.
 * - The stat cache knows a file by device, inode, size and both times, and trusts only times that had settled when it
 *   was read. What is wrong with it costs time, never an error.
 * - It does not decide owners, plan copies or follow links (`resolvePath` does), and never writes into the context.
 *
 * fast-glob and ignore serve beside that path, each loaded when it is asked for (`expandGlob`, `readAsGitignore`), not
 * on it. Measured, 2 cores, Node 20: bundled, fast-glob takes 10-15 ms to load and lists 10,920 entries in 21 ms where
 * reading the directories takes 10, and `ignore` takes 2.5 ms, of about 20 that a cached rebuild has; and gitignore's
 * rules are others than ignore files' have (no pattern without a slash stays in the root, nothing comes back below a
 * hidden directory).
 */
export type {
  BuildContext,
  ContextOptions,
  Explanation,
  IgnoreFile,
  IgnoreFilePlaces,
  IgnoreLine,
  XattrReader,
} from "./types.js";
export { openContext } from "./context-tree.js";
export { expandGlob } from "./expand-glob.js";
export { readAsGitignore } from "./gitignore.js";
export { findIgnoreFile } from "./find-ignore-file.js";
export { parseIgnoreFile, readIgnoreFile } from "./ignore-file.js";
export type { IgnoreVerdict } from "./ignore-matcher.js";
export { IgnoreMatcher } from "./ignore-matcher.js";
export type { PatternIndex } from "./pattern-index.js";
export { NO_MATCH, patternIndex } from "./pattern-index.js";
export { hasWildcard, matchPattern } from "./pattern-match.js";
