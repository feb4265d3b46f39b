import type { BytePath, OpenFile, TreeEntry } from "../../fs/index.js";
import { baseName, cleanPath, joinPath, parentOf, textOf } from "../../fs/index.js";
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
  for await (const change of snapshotter.readArchive(file, textOf(archive.path), engine.signal)) {
    planEntry(plan, change, dest, target, archive.mtimeNs);
  }
}

function planEntry(
  plan: LayerPlan,
  change: Change,
  dest: BytePath,
  target: CopyTarget,
  mtimeNs: bigint,
): void {
  if (change.kind !== "add" || change.entry.path === "") return;
  const { entry } = change;
  refuseWhiteoutName(entry, entry.path);
  const parent = plan.makeDir(parentOf(joinPath(dest, entry.path)), { owner: { uid: 0, gid: 0 }, mtimeNs });
  plan.replace({ ...entry, ...target.owner, path: joinPath(parent, baseName(entry.path)) }, change.content);
}
