import { cleanPath, textOf } from "../fs/index.js";
import type { PatternIndex } from "./pattern-index.js";
import { NO_MATCH, patternIndex } from "./pattern-index.js";

/** What decided about a path. */
export interface IgnoreVerdict {
  readonly ignored: boolean;
  /** The pattern that decided, as it was given; missing when none did, and the path is not ignored. */
  readonly pattern?: string;
  /** Its number among the patterns, from 0. */
  readonly index?: number;
  /** The parent directory that it matched, when what was decided there holds for the path. */
  readonly parent?: string;
}

/**
 * Decides which paths an ignore file hides, by BuildKit's rules (docs/ignore.md). Paths are text, relative to the root
 * of the context; "/" separates names, and "." , ".." and a leading "/" mean what they mean in COPY.
 *
 * @example
 * const matcher = new IgnoreMatcher(readIgnoreFile("*.o\n!keep.o\n"));
 * matcher.ignores("main.o"); // true
 */
export class IgnoreMatcher {
  readonly #patterns: readonly string[];
  readonly #index: PatternIndex;

  /** Patterns as `readIgnoreFile` returns them, in order. Throws `context` for a malformed one, naming it. */
  constructor(patterns: readonly string[]) {
    this.#patterns = patterns;
    this.#index = patternIndex(patterns);
  }

  /** True when a build would not see the path. A directory may be ignored and still be there for what it holds. */
  ignores(path: string): boolean {
    return this.explain(path).ignored;
  }

  /** The same with the pattern that decided. */
  explain(path: string): IgnoreVerdict {
    const bytes = cleanPath(path);
    const { verdict, at } = this.#index.decide(bytes);
    const ignored = this.#index.hides(verdict);
    if (verdict === NO_MATCH) return { ignored };
    const pattern = this.#patterns[verdict] ?? "";
    return { ignored, pattern, index: verdict, ...(at === bytes ? {} : { parent: textOf(at) }) };
  }
}
