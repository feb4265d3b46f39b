import { CooperError } from "../../errors.js";
import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { cleanPath, joinPath, parentOf, resolvePath, ROOT, textOf } from "../../fs/index.js";
import type { Change } from "../../snapshot/index.js";
import type { Chmod } from "./chmod.js";
import type { CopySource, Selected } from "./select.js";
import { entriesOf } from "./select.js";

/** How entries look in the image. */
export interface CopyTarget {
  /** Absolute path in the image, with its trailing slash if the user wrote one. */
  readonly path: string;
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly chmod?: Chmod;
}

const DIRECTORY_MODE = 0o755;

/**
 * Modification time of what a step makes out of nothing, so that the same step gives the same layer: 1980-01-01, since
 * zip archives (Python wheels, jars) cannot hold an earlier one.
 */
export const FIXED_TIME = 315_532_800_000_000_000n;

/**
 * Collects what a COPY, ADD or WORKDIR puts into a layer: paths are resolved in the image below it (links followed
 * inside its root), existing parents are listed with the metadata they have so that the layer does not change them, and
 * the result comes sorted, parents first. Reads the image; writes nothing.
 */
export class LayerPlan {
  /** The image that the layer goes on top of. */
  readonly below: FileTree;
  readonly #changes = new Map<BytePath, Change>();

  constructor(below: FileTree) {
    this.below = below;
  }

  /** The image with what was planned so far on top of it. */
  lstat(path: BytePath): TreeEntry | undefined {
    const change = this.#changes.get(path);
    return change?.kind === "add" ? change.entry : this.below.lstat(path);
  }

  /** Follows links of the image and of what was planned. */
  resolve(path: BytePath, followLast: boolean): BytePath {
    return resolvePath(this, path, { followLast });
  }

  /** Adds an entry at its own (already resolved) path. Throws `context` where a directory would replace a file or the other way round. */
  add(entry: TreeEntry, content: (() => ReturnType<FileTree["open"]> | Uint8Array) | undefined): void {
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
    this.#keepParents(entry.path);
    this.#changes.set(entry.path, { kind: "add", entry, ...(content ? { content } : {}) });
  }

  /** Makes a directory and its missing parents (0755); existing ones stay as they are. Returns its resolved path. */
  makeDir(path: BytePath, owner: { readonly uid: number; readonly gid: number }, mtimeNs: bigint): BytePath {
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
      this.add({ path: at, type: "dir", mode: DIRECTORY_MODE, ...owner, size: 0, mtimeNs }, undefined);
    }
    return resolved;
  }

  /** True when nothing was added. */
  get isEmpty(): boolean {
    return this.#changes.size === 0;
  }

  /** All changes, sorted bytewise by path components, parents before children. */
  changes(): readonly Change[] {
    const paths = [...this.#changes.keys()].map((path) => ({ path, order: path.replaceAll("/", "\0") }));
    paths.sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
    return paths.flatMap(({ path }) => this.#changes.get(path) ?? []);
  }

  #keepParents(path: BytePath): void {
    for (let at = parentOf(path); at !== "" && !this.#changes.has(at); at = parentOf(at)) {
      const entry = this.below.lstat(at);
      if (entry?.type === "dir") this.#changes.set(at, { kind: "add", entry });
    }
  }
}

/** Plans the entries of a COPY (or of an ADD's plain files). */
export function planCopy(
  plan: LayerPlan,
  source: CopySource,
  selected: readonly Selected[],
  target: CopyTarget,
): void {
  const owner = target.owner ?? { uid: 0, gid: 0 };
  const first = selected[0];
  const newest = first?.entry.mtimeNs ?? 0n;
  const dest = plan.resolve(cleanPath(target.path), true);
  const intoDir = target.path.endsWith("/") || selected.length > 1 || plan.lstat(dest)?.type === "dir";
  for (const one of selected) {
    if (one.entry.type === "dir") {
      copyDirectory(plan, source, one, target, dest, owner);
    } else {
      const dir = plan.makeDir(intoDir ? dest : parentOf(dest), owner, newest);
      const path = intoDir ? plan.resolve(joinPath(dir, one.name), true) : dest;
      addEntry(plan, source, one.entry, path, target);
    }
  }
}

function copyDirectory(
  plan: LayerPlan,
  source: CopySource,
  selected: Selected,
  target: CopyTarget,
  dest: BytePath,
  owner: { readonly uid: number; readonly gid: number },
): void {
  const existed = plan.lstat(dest)?.type === "dir";
  plan.makeDir(parentOf(dest), owner, selected.entry.mtimeNs);
  for (const { entry, relative } of entriesOf(source.tree, selected)) {
    if (relative !== "") addEntry(plan, source, entry, joinPath(dest, relative), target);
    else if (!existed && dest !== "") addEntry(plan, source, rootOf(entry), dest, target);
  }
}

/** The context's own directory may be a private temporary directory of the CI job: its mode is nobody's intention. */
function rootOf(entry: TreeEntry): TreeEntry {
  return entry.path === "" ? { ...entry, mode: DIRECTORY_MODE } : entry;
}

function addEntry(
  plan: LayerPlan,
  source: CopySource,
  entry: TreeEntry,
  path: BytePath,
  target: CopyTarget,
): void {
  refuseWhiteoutName(entry, path);
  const owner = target.owner ?? (source.keepOwner ? { uid: entry.uid, gid: entry.gid } : { uid: 0, gid: 0 });
  const mode =
    target.chmod && entry.type !== "symlink" ? target.chmod(entry.mode, entry.type === "dir") : entry.mode;
  const content = entry.type === "file" ? () => source.tree.open(entry) : undefined;
  plan.add({ ...entry, ...owner, mode, path }, content);
}

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
