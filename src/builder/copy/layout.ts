import { CooperError } from "../../errors.js";
import type { BytePath, TreeEntry } from "../../fs/index.js";
import { cleanPath, joinPath, parentOf } from "../../fs/index.js";
import type { Chmod } from "./chmod.js";
import type { LayerPlan } from "./layer-plan.js";
import { refuseWhiteoutName } from "./layer-plan.js";
import type { CopySource, Selected } from "./select.js";

/** How entries look in the image. */
export interface CopyTarget {
  /** Absolute path in the image, with its trailing slash if the user wrote one. */
  readonly path: string;
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly chmod?: Chmod;
}

/**
 * Plans the entries of a COPY (or of an ADD's plain files). Links in the destination are followed, but not one that has
 * the name of a copied file: that is replaced. A directory that the destination becomes gets 0755 and the owner of
 * `--chown`, whatever the source directory has. Source: BuildKit, which buildah agrees with.
 * Throws `usage` when several files would become one, `context` for a file in a directory's place.
 */
export function planCopy(
  plan: LayerPlan,
  source: CopySource,
  selected: readonly Selected[],
  target: CopyTarget,
): void {
  const owner = target.owner ?? { uid: 0, gid: 0 };
  const newest = selected[0]?.entry.mtimeNs ?? 0n;
  const dest = plan.resolve(cleanPath(target.path), true);
  const intoDir = target.path.endsWith("/") || plan.lstat(dest)?.type === "dir";
  refuseManyInOne(selected, intoDir);
  for (const one of selected) {
    if (one.entry.type === "dir") {
      copyDirectory(plan, source, one, target, plan.makeDir(dest, owner, one.entry.mtimeNs));
    } else {
      const dir = plan.makeDir(intoDir ? dest : parentOf(dest), owner, newest);
      addEntry(plan, source, one, one.entry, intoDir ? joinPath(dir, one.name) : dest, target);
    }
  }
}

/** A wildcard may match several files for a directory that is there; several words were refused before. */
function refuseManyInOne(selected: readonly Selected[], intoDir: boolean): void {
  if (intoDir || selected.length <= 1 || selected.every((one) => one.entry.type === "dir")) return;
  throw new CooperError(
    "usage",
    `${selected.length} files match, so the destination must be a directory: end it with "/"`,
  );
}

function copyDirectory(
  plan: LayerPlan,
  source: CopySource,
  selected: Selected,
  target: CopyTarget,
  dest: BytePath,
): void {
  for (const { entry, relative } of selected.entries()) {
    if (relative !== "") addEntry(plan, source, selected, entry, joinPath(dest, relative), target);
  }
}

function addEntry(
  plan: LayerPlan,
  source: CopySource,
  { word }: Selected,
  entry: TreeEntry,
  path: BytePath,
  target: CopyTarget,
): void {
  refuseWhiteoutName(entry, path);
  const owner = target.owner ?? (source.keepOwner ? { uid: entry.uid, gid: entry.gid } : { uid: 0, gid: 0 });
  const mode =
    target.chmod && entry.type !== "symlink" ? target.chmod(entry.mode, entry.type === "dir") : entry.mode;
  // Hard links stay one file within one source, and not across sources.
  const link = entry.linkId === undefined ? {} : { linkId: `${word}:${entry.linkId}` };
  const content = entry.type === "file" ? () => source.tree.open(entry) : undefined;
  plan.add({ ...entry, ...owner, ...link, mode, path }, content);
}
