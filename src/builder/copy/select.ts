import { posix } from "node:path";
import type { PatternIndex } from "../../context/index.js";
import { hasWildcard, patternIndex, matchPattern } from "../../context/index.js";
import { CooperError } from "../../errors.js";
import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { baseName, cleanPath, joinPath, resolvePath, ROOT, textOf, walkTree } from "../../fs/index.js";
import type { SelectedEntry } from "./filter.js";
import { filteredEntries } from "./filter.js";

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
  /** True for a directory that is there only for what matches below it, so that nothing of its own is copied. */
  readonly isPartial: boolean;
  /** The source and all below it, parents first, siblings sorted; read once, so that every call sees the same files. */
  readonly entries: () => readonly SelectedEntry[];
}

/** What of a tree an instruction wants. */
export interface Wanted {
  readonly verb: "COPY" | "ADD";
  /** One source of the instruction. */
  readonly text: string;
  /** Which one, from 0. */
  readonly word: number;
  /** Patterns of `--exclude`, relative to each directory that is copied. */
  readonly exclude: readonly string[];
  /** `--parents`: the source is a pattern, and what matches keeps its path below the root, or below the first `/./`. */
  readonly parents: boolean;
}

/**
 * Finds what a source word of a COPY or ADD names; [] for a wildcard that matches nothing. A leading "/" and ".." stay
 * inside the tree; a symbolic link that is named (or matched) itself is followed inside the tree. Throws `not-found` with
 * the reason for a word without wildcards that names nothing, and for a link that leads nowhere.
 */
export function selectSource(source: CopySource, wanted: Wanted): readonly Selected[] {
  const hidden = wanted.exclude.length > 0 ? [excludeMatcher(wanted.exclude)] : [];
  if (wanted.parents) return selectWithParents(source, wanted, hidden);
  const { text } = wanted;
  const isPattern = hasWildcard(text);
  const found = isPattern ? expandWildcard(source.tree, text) : [cleanPath(text)];
  const selected = found.flatMap((path) => follow(source, path, wanted, hidden));
  if (selected.length === 0 && !isPattern) throw missingSource(source, wanted);
  return selected;
}

/** Patterns of `--exclude`. Throws `usage` for a malformed one. */
export function excludeMatcher(patterns: readonly string[]): PatternIndex {
  try {
    return patternIndex(patterns);
  } catch (error) {
    throw new CooperError("usage", `--exclude=${patterns.join(", ")}: not a valid pattern`, {
      cause: error,
      hint: "write it like a line of an ignore file",
    });
  }
}

/**
 * A directory (the root, or what stands before `/./`) of which all is left out but what the pattern, or a directory that
 * it matches, holds; `**` is any number of directories. Source: Dockerfile reference, "COPY --parents".
 */
function selectWithParents(
  source: CopySource,
  wanted: Wanted,
  hidden: readonly PatternIndex[],
): readonly Selected[] {
  const pivot = wanted.text.indexOf("/./");
  const base = pivot < 0 ? "" : wanted.text.slice(0, pivot);
  const pattern = posix.resolve("/", pivot < 0 ? wanted.text : wanted.text.slice(pivot + 3)).slice(1);
  const others = pattern === "" ? [] : [patternIndex(["**", `!${pattern}`])];
  const bases = hasWildcard(base) ? expandWildcard(source.tree, base) : [cleanPath(base)];
  const selected = bases
    .flatMap((path) => follow(source, path, wanted, [...others, ...hidden]))
    .filter(({ entry }) => entry.type === "dir");
  if (hasWildcard(base) || hasWildcard(pattern))
    return selected.filter((one) => pattern === "" || one.entries().length > 1);
  const isThere = selected.some(({ entry }) => source.tree.lstat(joinPath(entry.path, cleanPath(pattern))));
  if (pattern === "" ? selected.length === 0 : !isThere) throw missingSource(source, wanted);
  return selected;
}

function follow(
  source: CopySource,
  path: BytePath,
  { verb, word, parents }: Wanted,
  hidden: readonly PatternIndex[],
): readonly Selected[] {
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
  const read = (): readonly SelectedEntry[] =>
    hidden.length > 0 ? filteredEntries(tree, entry, hidden) : entriesOf(tree, entry);
  return [{ entry, name: baseName(path), word, isPartial: parents, entries: () => (entries ??= read()) }];
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

/** What to say of a source that names nothing. */
export function missingSource(source: CopySource, { verb, text }: Wanted): CooperError {
  const ignored = source.isIgnored?.(textOf(cleanPath(text))) === true;
  return new CooperError("not-found", `${verb}: "${text}" is not in ${source.name}`, {
    hint: ignored
      ? "the file exists, but the ignore file of the context hides it"
      : hasWildcard(text)
        ? "no file matches the pattern"
        : `paths are relative to the root of ${source.name}`,
  });
}

/**
 * Paths that match a pattern, component by component, sorted; `*` never crosses "/". Links are followed up to the first
 * wildcard and not after it. Sources: Go path/filepath Match; BuildKit, which walks from there.
 */
function expandWildcard(tree: FileTree, pattern: string): readonly BytePath[] {
  const clamped: string[] = [];
  for (const part of pattern.split("/")) {
    if (part === "..") clamped.pop();
    else if (part !== "" && part !== ".") clamped.push(part);
  }
  const first = clamped.findIndex(hasWildcard);
  const start = resolvePath(tree, cleanPath(clamped.slice(0, first).join("/")), { followLast: true });
  return clamped
    .slice(first)
    .reduce<readonly BytePath[]>((dirs, part) => dirs.flatMap((dir) => matchesIn(tree, dir, part)), [start]);
}

function matchesIn(tree: FileTree, dir: BytePath, part: string): readonly BytePath[] {
  if (tree.lstat(dir)?.type !== "dir") return [];
  if (!hasWildcard(part)) {
    const path = joinPath(dir, cleanPath(part));
    return tree.lstat(path) ? [path] : [];
  }
  return tree
    .list(dir)
    .filter((name) => matchPattern(part, textOf(name)))
    .map((name) => joinPath(dir, name));
}
