import type { BytePath, FileTree, TreeEntry } from "../fs/index.js";
import { baseName, joinPath, ROOT } from "../fs/index.js";
import { patternBytes } from "./go-path.js";
import { hasWildcard, tryMatch } from "./pattern-match.js";
import { matchPattern } from "./pattern-match.js";

/**
 * The paths of a tree that a source pattern of COPY or ADD names, sorted bytewise; [] when there are none. Between
 * slashes a pattern is Go's `filepath.Match` (names that begin with a dot count as others); a part `**` stands for any
 * number of directories, or as the last part for everything below. Links are not followed. fast-glob is loaded only for
 * a pattern with `**`. `pattern` is text, relative to the tree's root. Throws `syntax` for a malformed pattern.
 */
export async function expandGlob(
  tree: Pick<FileTree, "lstat" | "list">,
  pattern: string,
): Promise<readonly BytePath[]> {
  const parts = pattern.split("/").filter((part) => part !== "" && part !== ".");
  for (const part of parts) if (part !== "**") matchPattern(part, "");
  const deepFrom = parts.indexOf("**");
  const found = expandFlat(tree, parts.slice(0, deepFrom < 0 ? undefined : deepFrom));
  if (deepFrom < 0) return found.toSorted();
  const rest = parts.slice(deepFrom).map(patternBytes);
  const list = await deepLister(tree);
  const deep = found.flatMap((dir) =>
    list(dir)
      .filter((names) => matchParts(rest, names))
      .map((names) => joinPath(dir, names.join("/"))),
  );
  return deep.toSorted();
}

/** Pattern parts without `**`, one directory level each. */
function expandFlat(tree: Pick<FileTree, "lstat" | "list">, parts: readonly string[]): readonly BytePath[] {
  let found: readonly BytePath[] = [ROOT];
  for (const part of parts) {
    const bytes = patternBytes(part);
    const namesIn = (dir: BytePath): readonly string[] =>
      hasWildcard(part) ? tree.list(dir).filter((name) => tryMatch(bytes, name) === true) : [bytes];
    found = found
      .filter((path) => tree.lstat(path)?.type === "dir")
      .flatMap((dir) => namesIn(dir).map((name) => joinPath(dir, name)));
  }
  return found.filter((path) => tree.lstat(path) !== undefined);
}

/** Whole match of names by parts, `**` taking any number of them: a table of parts by names, so never exponential. */
function matchParts(parts: readonly string[], names: readonly string[]): boolean {
  let reached = names.map(() => false);
  let atStart = true;
  for (const [i, part] of parts.entries()) {
    const next: boolean[] = [];
    const isLast = i === parts.length - 1;
    for (const [j, name] of names.entries()) {
      const before = j === 0 ? atStart : reached[j - 1] === true;
      next.push(
        part === "**"
          ? before || next[j - 1] === true || (!isLast && reached[j] === true)
          : before && tryMatch(part, name) === true,
      );
    }
    atStart &&= part === "**" && !isLast;
    reached = next;
  }
  return reached.at(-1) === true;
}

/**
 * Lists everything below a directory, as lists of names, by fast-glob reading our tree. It is given names in which every
 * byte that could mean something to it is moved to the private use area; so they survive it byte for byte.
 */
async function deepLister(
  tree: Pick<FileTree, "lstat" | "list">,
): Promise<(dir: BytePath) => readonly (readonly string[])[]> {
  const { default: fastGlob } = await import("fast-glob");
  return (dir) => {
    const at = (path: string): BytePath => {
      const below = path.slice(CWD.length + 1);
      return below === "" ? dir : joinPath(dir, below.split("/").map(unveil).join("/"));
    };
    const status = (path: string): never => statusOf(path, tree.lstat(at(path))) as never;
    const readdirSync = (path: string): never =>
      tree.list(at(path)).flatMap((name) => {
        const entry = tree.lstat(joinPath(at(path), name));
        return entry ? [statusOf(path, entry)] : [];
      }) as never;
    return fastGlob
      .sync("**", {
        cwd: CWD,
        fs: { lstatSync: status, statSync: status, readdirSync },
        dot: true,
        onlyFiles: false,
        followSymbolicLinks: false,
        unique: false,
      })
      .map((path) => path.split("/").map(unveil));
  };
}

/** The tree's directory as fast-glob knows it; nothing of the real file system is read. */
const CWD = "/tree";

function statusOf(path: string, entry: TreeEntry | undefined): object {
  if (!entry) throw Object.assign(new Error(`not in the tree: ${path}`), { code: "ENOENT" });
  const is = (type: TreeEntry["type"]) => (): boolean => entry.type === type;
  return {
    name: veil(baseName(entry.path)),
    isDirectory: is("dir"),
    isFile: is("file"),
    isSymbolicLink: is("symlink"),
    isFIFO: is("fifo"),
    isSocket: is("socket"),
    isCharacterDevice: is("char"),
    isBlockDevice: is("block"),
  };
}

function veil(name: string): string {
  return name.replace(/[^A-Za-z0-9_.-]/g, (byte) => String.fromCharCode(0xe000 + byte.charCodeAt(0)));
}

function unveil(name: string): string {
  return name.replace(/[\ue000-\ue0ff]/g, (char) => String.fromCharCode(char.charCodeAt(0) - 0xe000));
}
