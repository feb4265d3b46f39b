import type { BytePath } from "../../fs/index.js";
import { baseName, cleanPath, joinPath, parentOf, textOf } from "../../fs/index.js";
import type { Change } from "../../snapshot/index.js";
import type { BuildEngine } from "../engine.js";
import type { CopyTarget, LayerPlan } from "./layout.js";
import { refuseWhiteoutName } from "./layout.js";
import type { CopySource, Selected } from "./select.js";

/**
 * Plans the contents of a local archive that ADD unpacks: entries keep their owners unless `--chown` says otherwise,
 * and every parent is resolved inside the image, through links of the image and of the archive alike.
 */
export async function planArchive(
  plan: LayerPlan,
  source: CopySource,
  archive: Selected,
  target: CopyTarget,
  engine: BuildEngine,
): Promise<void> {
  const owner = target.owner ?? { uid: 0, gid: 0 };
  const dest = plan.makeDir(cleanPath(target.path), owner, archive.entry.mtimeNs);
  const file = source.tree.open(archive.entry);
  try {
    for await (const change of (await engine.snapshotter()).readArchive(
      file,
      textOf(archive.entry.path),
      engine.signal,
    )) {
      planEntry(plan, change, dest, target, archive.entry.mtimeNs);
    }
  } finally {
    file.close();
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
  const parent = plan.makeDir(parentOf(joinPath(dest, entry.path)), { uid: 0, gid: 0 }, mtimeNs);
  const direct = joinPath(parent, baseName(entry.path));
  const path =
    entry.type === "dir" && plan.lstat(direct)?.type === "symlink" ? plan.resolve(direct, true) : direct;
  const mode =
    target.chmod && entry.type !== "symlink" ? target.chmod(entry.mode, entry.type === "dir") : entry.mode;
  plan.add({ ...entry, ...target.owner, mode, path }, change.content);
}
