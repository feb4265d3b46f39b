import type { BytePath, OpenFile, TreeEntry } from "../../fs/index.js";
import { baseName, cleanPath, joinPath, movesOthers, parentOf, textOf } from "../../fs/index.js";
import type { Change } from "../../snapshot/index.js";
import type { BuildEngine } from "../engine.js";
import type { LayerPlan } from "./layer-plan.js";
import { refuseWhiteoutName } from "./layer-plan.js";
import type { CopyTarget } from "./layout.js";

/**
 * Plans the contents of a local archive that ADD unpacks. Entries keep their modes, whatever `--chmod` says, and their
 * owners unless `--chown` says otherwise. Parents are resolved inside the image, through links of the image and of the
 * archive alike; an entry takes the place of whatever has its very name, except that directories merge.
 * Source: BuildKit. The caller closes `file` once the layer is written.
 */
export async function planArchive(
  plan: LayerPlan,
  archive: TreeEntry,
  file: OpenFile,
  target: CopyTarget,
  engine: BuildEngine,
): Promise<void> {
  const owner = target.owner ?? { uid: 0, gid: 0 };
  const dest = plan.makeDir(cleanPath(target.path), { owner, mtimeNs: archive.mtimeNs });
  const snapshotter = await engine.snapshotter();
  const parents = new Map<BytePath, BytePath>();
  for await (const change of snapshotter.readArchive(file, textOf(archive.path), engine.signal)) {
    planEntry(plan, change, parents, { dest, target, mtimeNs: archive.mtimeNs });
  }
}

/** `parents`: where the parents of entries before it are, so that a deep one is walked to once. */
function planEntry(
  plan: LayerPlan,
  change: Change,
  parents: Map<BytePath, BytePath>,
  {
    dest,
    target,
    mtimeNs,
  }: { readonly dest: BytePath; readonly target: CopyTarget; readonly mtimeNs: bigint },
): void {
  if (change.kind !== "add" || change.entry.path === "") return;
  const { entry } = change;
  refuseWhiteoutName(entry, entry.path);
  const wanted = parentOf(joinPath(dest, entry.path));
  const parent = parents.get(wanted) ?? plan.makeDir(wanted, { owner: { uid: 0, gid: 0 }, mtimeNs });
  parents.set(wanted, parent);
  const path = joinPath(parent, baseName(entry.path));
  const before = plan.replace({ ...entry, ...target.owner, path }, change.content);
  if (movesOthers(entry, before)) parents.clear();
}
