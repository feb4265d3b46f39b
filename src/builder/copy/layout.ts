import { CooperError } from "../../errors.js";
import type { BytePath, TreeEntry } from "../../fs/index.js";
import { cleanPath, joinPath, parentOf } from "../../fs/index.js";
import type { Chmod } from "./chmod.js";
import type { LayerPlan, NewDirectory } from "./layer-plan.js";
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
 * Plans one source of a COPY (or of an ADD that is not unpacked). Links in the destination are followed, but not one that
 * has the name of a copied file: that is replaced. A directory that the destination becomes gets 0755 (or what an octal
 * `--chmod` says) and the owner of `--chown`, whatever the source directory has, and the source's time, as does one that is there. Source: BuildKit, which
 * buildah agrees with. Throws `usage` when several files would become one, `context` for a file in a directory's place.
 */
export function planCopy(plan: LayerPlan, source: CopySource, one: Selected, target: CopyTarget): void {
  const { mtimeNs } = one.entry;
  if (one.entry.type === "dir") {
    const dest = plan.makeDir(cleanPath(target.path), newDirectory(target, mtimeNs));
    if (!one.isPartial) plan.touch(dest, mtimeNs);
    copyDirectory(plan, source, one, target, dest);
    return;
  }
  addEntry(plan, source, one, one.entry, fileDestination(plan, target, one.name, mtimeNs), target);
}

/** Where a file of a name goes, after the directories on the way were made. Throws as `planCopy` does. */
export function fileDestination(
  plan: LayerPlan,
  target: CopyTarget,
  name: string,
  mtimeNs: bigint,
): BytePath {
  const dest = plan.resolve(cleanPath(target.path), true);
  const intoDir = target.path.endsWith("/") || plan.lstat(dest)?.type === "dir";
  if (!intoDir && plan.has(dest)) {
    throw new CooperError(
      "usage",
      `several files would become the one file ${target.path}: for a directory, end it with "/"`,
    );
  }
  if (intoDir && name === "") {
    throw new CooperError("usage", "the URL has no file name for the directory that the destination is", {
      hint: "give the file a name in the destination",
    });
  }
  const dir = plan.makeDir(intoDir ? dest : parentOf(dest), newDirectory(target, mtimeNs));
  return intoDir ? joinPath(dir, name) : dest;
}

/**
 * What is made on the way gets the owner of `--chown` and the bits of an octal `--chmod`, but for set-id, sticky, and write
 * for others than the owner. Source: BuildKit.
 */
function newDirectory({ owner, chmod }: CopyTarget, mtimeNs: bigint): NewDirectory {
  return {
    owner: owner ?? { uid: 0, gid: 0 },
    ...(chmod?.octal === undefined ? {} : { mode: chmod.octal & 0o755 }),
    mtimeNs,
  };
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
    target.chmod && entry.type !== "symlink"
      ? target.chmod.apply(entry.mode, entry.type === "dir")
      : entry.mode;
  // Hard links stay one file within one source, and not across sources.
  const link = entry.linkId === undefined ? {} : { linkId: `${word}:${entry.linkId}` };
  const content = entry.type === "file" ? () => source.tree.open(entry) : undefined;
  plan.add({ ...entry, ...owner, ...link, mode, path }, content);
}
