import { CooperError } from "../../errors.js";
import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { joinPath, parentOf, resolvePath, ROOT, textOf } from "../../fs/index.js";
import type { Change } from "../../snapshot/index.js";

/** Mode of a directory that nobody described. Source: BuildKit and buildah, which do not copy the source directory's own. */
const DIRECTORY_MODE = 0o755;

/**
 * Modification time of what a step makes out of nothing, so that the same step gives the same layer: 1980-01-01, since
 * zip archives (Python wheels, jars) cannot hold an earlier one.
 */
export const FIXED_TIME = 315_532_800_000_000_000n;

/** How directories look that are made on the way. Mode: 0755 unless told. */
export interface NewDirectory {
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly mode?: number;
  readonly mtimeNs: bigint;
}

type Content = () => ReturnType<FileTree["open"]> | Uint8Array;

/**
 * Collects what a COPY, ADD or WORKDIR puts into a layer: paths are resolved in the image below it (links followed
 * inside its root), existing parents are listed with the metadata they have so that the layer does not change them, and
 * the result comes sorted, parents first. Reads the image; writes nothing.
 */
export class LayerPlan {
  /** The image that the layer goes on top of. */
  readonly below: FileTree;
  readonly #changes = new Map<BytePath, Change>();
  /** Directories of the image that something else took the place of: what they hold is gone. */
  readonly #replaced = new Set<BytePath>();
  /** What was planned, by directory: made when the first directory is replaced, so that each costs only what it held. */
  #children: Map<BytePath, Set<BytePath>> | undefined;

  constructor(below: FileTree) {
    this.below = below;
  }

  /** The image with what was planned so far on top of it. */
  lstat(path: BytePath): TreeEntry | undefined {
    const change = this.#changes.get(path);
    if (change?.kind === "add") return change.entry;
    return this.#isGone(path) ? undefined : this.below.lstat(path);
  }

  /** Follows links of the image and of what was planned. */
  resolve(path: BytePath, followLast: boolean): BytePath {
    return resolvePath(this, path, { followLast });
  }

  /** True when this plan has put something at a (resolved) path. */
  has(path: BytePath): boolean {
    return this.#changes.has(path);
  }

  /** Sets the modification time of a directory that is there. */
  touch(path: BytePath, mtimeNs: bigint): void {
    const there = this.lstat(path);
    if (path !== ROOT && there?.type === "dir") this.#set({ ...there, mtimeNs }, undefined);
  }

  /** Adds an entry at its own (already resolved) path. Throws `context` where a directory would replace a file or the other way round. */
  add(entry: TreeEntry, content: Content | undefined): void {
    const there = this.lstat(entry.path);
    if (there?.type === "dir" && entry.type !== "dir") {
      throw new CooperError(
        "context",
        `cannot replace the directory /${textOf(entry.path)} of the image with a file`,
      );
    }
    if (there && there.type !== "dir" && entry.type === "dir") {
      throw new CooperError(
        "context",
        `cannot copy a directory to /${textOf(entry.path)}: it is a ${there.type} in the image`,
        {
          hint:
            there.type === "symlink"
              ? "copy to the directory that the link points to"
              : "choose another destination",
        },
      );
    }
    this.#set(entry, content);
  }

  /** As `add`, but takes the place of whatever is there, a directory with all that it holds included. Returns what was there. */
  replace(entry: TreeEntry, content: Content | undefined): TreeEntry | undefined {
    const before = this.lstat(entry.path);
    if (entry.type !== "dir" && before?.type === "dir") this.#empty(entry.path);
    this.#set(entry, content);
    return before;
  }

  /** Makes a directory and its missing parents; existing ones stay as they are. Returns its resolved path. */
  makeDir(path: BytePath, { owner, mode = DIRECTORY_MODE, mtimeNs }: NewDirectory): BytePath {
    const resolved = this.resolve(path, true);
    let at = ROOT;
    for (const name of resolved === "" ? [] : resolved.split("/")) {
      at = joinPath(at, name);
      const there = this.lstat(at);
      if (there?.type === "dir") continue;
      if (there)
        throw new CooperError(
          "context",
          `/${textOf(at)} is not a directory in the image, but a ${there.type}`,
        );
      this.#set({ path: at, type: "dir", mode, ...owner, size: 0, mtimeNs }, undefined);
    }
    return resolved;
  }

  /** True when nothing was added. */
  get isEmpty(): boolean {
    return this.#changes.size === 0;
  }

  /** All changes, sorted bytewise by path components, parents before children. */
  changes(): readonly Change[] {
    return [...this.#changes.keys()].toSorted(inTreeOrder).flatMap((path): readonly Change[] => {
      const change = this.#changes.get(path);
      if (!change) return [];
      const isNewDir = change.kind === "add" && change.entry.type === "dir" && this.#replaced.has(path);
      return isNewDir ? [change, { kind: "opaque", path }] : [change];
    });
  }

  #set(entry: TreeEntry, content: Content | undefined): void {
    this.#keepParents(entry.path);
    this.#plan(entry.path, { kind: "add", entry, ...(content ? { content } : {}) });
  }

  #plan(path: BytePath, change: Change): void {
    this.#changes.set(path, change);
    if (this.#children) addChild(this.#children, path);
  }

  #empty(path: BytePath): void {
    if (!this.#children) {
      this.#children = new Map();
      for (const planned of this.#changes.keys()) addChild(this.#children, planned);
    }
    const emptied = [path];
    for (let at = emptied.pop(); at !== undefined; at = emptied.pop()) {
      const children = this.#children.get(at) ?? [];
      this.#children.delete(at);
      for (const child of children) {
        this.#changes.delete(child);
        emptied.push(child);
      }
    }
    this.#replaced.add(path);
  }

  #isGone(path: BytePath): boolean {
    if (this.#replaced.size === 0) return false;
    for (let at = parentOf(path); at !== ""; at = parentOf(at)) if (this.#replaced.has(at)) return true;
    return false;
  }

  #keepParents(path: BytePath): void {
    for (let at = parentOf(path); at !== "" && !this.#changes.has(at); at = parentOf(at)) {
      const entry = this.lstat(at);
      if (entry?.type === "dir") this.#plan(at, { kind: "add", entry });
    }
  }
}

function addChild(children: Map<BytePath, Set<BytePath>>, path: BytePath): void {
  for (let child = path; child !== ROOT; child = parentOf(child)) {
    const siblings = children.get(parentOf(child));
    if (siblings) {
      siblings.add(child);
      return;
    }
    children.set(parentOf(child), new Set([child]));
  }
}

/** What `--link` sees of the image below: nothing, so that its layer is the same on any image. */
export const EMPTY_TREE: FileTree = {
  lstat: (path) =>
    path === ROOT
      ? { path, type: "dir", mode: DIRECTORY_MODE, uid: 0, gid: 0, size: 0, mtimeNs: FIXED_TIME }
      : undefined,
  list: () => [],
  open: ({ path }) => {
    throw new Error(`nothing is at ${textOf(path)}`);
  },
  digest: ({ path }) => {
    throw new Error(`nothing is at ${textOf(path)}`);
  },
};

/** A layer's tar cannot hold such a name: every reader would take it for a deletion. Source: OCI image-spec layer.md. */
export function refuseWhiteoutName(entry: TreeEntry, path: BytePath): void {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (!name.startsWith(".wh.")) return;
  throw new CooperError(
    "context",
    `cannot copy ${textOf(entry.path)}: names that begin with ".wh." mean a deletion in image layers`,
    {
      hint: "rename the file, or exclude it with .containerignore",
    },
  );
}

/** By components, without making a string of either: of deep trees that would be most of the work (hazard L22). */
function inTreeOrder(a: BytePath, b: BytePath): number {
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1;
  if (at === length) return a.length - b.length;
  const [one, other] = [a[at] ?? "", b[at] ?? ""];
  if (one === "/" || other === "/") return one === "/" ? -1 : 1;
  return one < other ? -1 : 1;
}
