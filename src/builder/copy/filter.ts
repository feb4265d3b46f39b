import type { PatternIndex } from "../../context/index.js";
import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { joinPath, parentOf, ROOT } from "../../fs/index.js";

/** An entry that is copied, with its path below the source's root ("" for the source itself). */
export interface SelectedEntry {
  readonly entry: TreeEntry;
  readonly relative: BytePath;
}

/** A walked entry; a hidden directory is copied only for what it holds. */
interface Walked extends SelectedEntry {
  readonly isHidden: boolean;
}

interface Place {
  readonly path: BytePath;
  readonly relative: BytePath;
  /** Of each matcher on the directory that holds it. */
  readonly verdicts: readonly number[];
}

/**
 * A source and what lies below it, parents first, siblings sorted, without what a matcher hides. Patterns are relative to
 * the source, whatever its own name is; a directory that is hidden itself is there when it holds something that is not.
 * Directories that can hold nothing are not read. Links are not followed.
 */
export function filteredEntries(
  tree: FileTree,
  root: TreeEntry,
  matchers: readonly PatternIndex[],
): readonly SelectedEntry[] {
  const walked: Walked[] = [{ entry: root, relative: ROOT, isHidden: false }];
  const stack: Place[] = [];
  const enter = (path: BytePath, relative: BytePath, verdicts: readonly number[]): void => {
    for (const name of tree.list(path).toReversed())
      stack.push({ path: joinPath(path, name), relative: joinPath(relative, name), verdicts });
  };
  if (root.type === "dir")
    enter(
      root.path,
      ROOT,
      matchers.map((matcher) => matcher.verdict(ROOT, -1)),
    );
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    const { path, relative } = at;
    const entry = tree.lstat(path);
    if (!entry) continue;
    const verdicts = matchers.map((matcher, i) => matcher.verdict(relative, at?.verdicts[i] ?? -1));
    const hiders = matchers.filter((matcher, i) => matcher.hides(verdicts[i] ?? -1));
    const mayHold = (matcher: PatternIndex): boolean =>
      matcher.mayHoldVisible(relative, verdicts[matchers.indexOf(matcher)] ?? -1);
    if (hiders.length > 0 && (entry.type !== "dir" || !hiders.every(mayHold))) continue;
    walked.push({ entry, relative, isHidden: hiders.length > 0 });
    if (entry.type === "dir") enter(path, relative, verdicts);
  }
  return withoutEmptyHidden(walked);
}

/** From the last one back: what is below a directory comes after it. */
function withoutEmptyHidden(walked: readonly Walked[]): readonly SelectedEntry[] {
  const needed = new Set<BytePath>();
  const kept = walked.toReversed().filter(({ relative, isHidden }) => {
    if (isHidden && !needed.has(relative)) return false;
    needed.add(parentOf(relative));
    return true;
  });
  return kept.toReversed();
}
