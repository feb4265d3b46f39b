import type { BytePath } from "../fs/index.js";
import { textOf } from "../fs/index.js";
import { patternIndex } from "./pattern-index.js";

/** A path that an ignore file leaves visible though the same line in a .gitignore would hide it. */
export interface GitignoreDifference {
  readonly pattern: string;
  readonly path: BytePath;
}

/**
 * Reads ignore patterns as git would and tells, for each, the first of the paths that git would hide by it and this
 * context does not: the usual reason for a context that is larger than its author thinks (`node_modules` hides only the
 * one in the root). For a hint; it decides nothing. Patterns in order, those with `!` left out.
 */
export async function readAsGitignore(
  patterns: readonly string[],
  paths: Iterable<BytePath>,
): Promise<readonly GitignoreDifference[]> {
  const { default: ignore } = await import("ignore");
  const matcher = patternIndex(patterns);
  const asGit = patterns
    .filter((pattern) => !pattern.startsWith("!"))
    .map((pattern) => ({
      pattern,
      git: ignore({ ignorecase: false, allowRelativePaths: true }).add(pattern),
    }));
  const found = new Map<string, BytePath>();
  for (const path of paths) {
    if (path === "" || matcher.ignores(path)) continue;
    const hiding = asGit.find(({ git }) => git.ignores(textOf(path)));
    if (hiding && !found.has(hiding.pattern)) found.set(hiding.pattern, path);
  }
  return asGit.flatMap(({ pattern }) => {
    const path = found.get(pattern);
    return path === undefined ? [] : [{ pattern, path }];
  });
}
