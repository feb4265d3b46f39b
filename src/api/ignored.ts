import type { IgnoreFilePlaces } from "../context/index.js";
import { findIgnoreFile, NO_MATCH, patternIndex } from "../context/index.js";
import { cleanPath } from "../fs/index.js";

/**
 * Whether the ignore file hides a path and everything below it. The file is read when first asked; throws as
 * `findIgnoreFile` does. The context's root is never hidden: a COPY of it takes what is left.
 */
export function ignoredPaths(places: IgnoreFilePlaces): (path: string) => boolean {
  let index: ReturnType<typeof patternIndex> | undefined;
  return (text) => {
    index ??= patternIndex(findIgnoreFile(places)?.lines ?? []);
    const path = cleanPath(text);
    if (path === "") return false;
    const { verdict } = index.decide(path);
    return verdict !== NO_MATCH && index.hides(verdict) && !index.mayHoldVisible(path, verdict);
  };
}
