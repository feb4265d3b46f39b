import { matchPattern } from "../../context/index.js";
import { CooperError } from "../../errors.js";
import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { baseName, cleanPath, joinPath, resolvePath, ROOT, textOf, walkTree } from "../../fs/index.js";

/** Where COPY and ADD read. */
export interface CopySource {
  readonly tree: FileTree;
  /** For messages: `the build context`, `stage "build"`, `image alpine`. */
  readonly name: string;
  /** Files of a build context become root's; those of a stage or image keep their owner. */
  readonly keepOwner: boolean;
  /** Whether an ignore file hides a path that the user named. */
  readonly isIgnored?: (path: string) => boolean;
}

/** One source of an instruction after wildcards and links: a file, or a directory whose contents are copied. */
export interface Selected {
  readonly entry: TreeEntry;
  /** Base name as the user wrote or matched it (a link's own name, not its target's). */
  readonly name: string;
  /** Which of the instruction's sources named it, from 0. */
  readonly word: number;
  /** The source and all below it, parents first, siblings sorted; read once, so that every call sees the same files. */
  readonly entries: () => readonly SelectedEntry[];
}

/** An entry that is copied, with its path below the source's root ("" for the source itself). */
export interface SelectedEntry {
  readonly entry: TreeEntry;
  readonly relative: BytePath;
}

const WILDCARD = /[*?[\\]/;

/**
 * Finds what the source words of a COPY or ADD name. A leading "/" and ".." stay inside the tree; a symbolic link that is
 * named (or matched) itself is followed inside the tree. Throws `not-found` with the reason for a word without a match,
 * and for a link that leads nowhere.
 */
export function selectSources(
  source: CopySource,
  words: readonly string[],
  verb: "COPY" | "ADD",
): readonly Selected[] {
  return words.flatMap((text, word) => {
    const found = WILDCARD.test(text) ? expandWildcard(source.tree, text) : [cleanPath(text)];
    const selected = found.flatMap((path) => follow(source, path, word, verb));
    if (selected.length === 0) throw missing(source, text, verb);
    return selected;
  });
}

function follow(source: CopySource, path: BytePath, word: number, verb: "COPY" | "ADD"): readonly Selected[] {
  const { tree } = source;
  const entry = tree.lstat(resolvePath(tree, path, { followLast: true }));
  if (!entry) {
    const link = tree.lstat(resolvePath(tree, path, { followLast: false }));
    if (link?.type !== "symlink") return [];
    throw new CooperError(
      "not-found",
      `${verb}: "${textOf(path)}" is a symbolic link to "${textOf(link.target ?? "")}", which is not in ${source.name}`,
    );
  }
  let entries: readonly SelectedEntry[] | undefined;
  return [{ entry, name: baseName(path), word, entries: () => (entries ??= entriesOf(tree, entry)) }];
}

function entriesOf(tree: FileTree, root: TreeEntry): readonly SelectedEntry[] {
  const { path, type } = root;
  if (type !== "dir") return [{ entry: root, relative: ROOT }];
  const prefix = path === "" ? 0 : path.length + 1;
  return [...walkTree(tree, path)].map((entry) => ({
    entry,
    relative: entry.path.slice(prefix) as BytePath,
  }));
}

function missing(source: CopySource, word: string, verb: string): CooperError {
  const ignored = source.isIgnored?.(textOf(cleanPath(word))) === true;
  return new CooperError("not-found", `${verb}: "${word}" is not in ${source.name}`, {
    hint: ignored
      ? "the file exists, but the ignore file of the context hides it"
      : WILDCARD.test(word)
        ? "no file matches the pattern"
        : `paths are relative to the root of ${source.name}`,
  });
}

/** Paths that match a pattern, component by component, sorted; `*` never crosses "/". Source: Go path/filepath Match. */
function expandWildcard(tree: FileTree, pattern: string): readonly BytePath[] {
  const parts = pattern.split("/").filter((part) => part !== "" && part !== ".");
  const clamped: string[] = [];
  for (const part of parts) {
    if (part === "..") clamped.pop();
    else clamped.push(part);
  }
  return clamped.reduce<readonly BytePath[]>(
    (dirs, part) => dirs.flatMap((dir) => matchesIn(tree, dir, part)),
    [ROOT],
  );
}

function matchesIn(tree: FileTree, dir: BytePath, part: string): readonly BytePath[] {
  const real = resolvePath(tree, dir, { followLast: true });
  if (tree.lstat(real)?.type !== "dir") return [];
  if (!WILDCARD.test(part)) {
    const path = joinPath(real, cleanPath(part));
    return tree.lstat(path) ? [path] : [];
  }
  return tree
    .list(real)
    .filter((name) => matchPattern(part, textOf(name)))
    .map((name) => joinPath(real, name));
}
