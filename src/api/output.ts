import type { BuildOutput } from "../cooper.js";
import type { FullReference } from "../image/index.js";
import type { StoredImage } from "../store/index.js";
import { writeTree } from "../archive/index.js";
import { treeSyscalls } from "../runtime/index.js";
import { saveImages } from "./save.js";
import type { Workshop } from "./workshop.js";

/** Writes a build's result where `--output` says. Throws `io`, `no-space`. */
export async function writeOutput(
  workshop: Workshop,
  image: StoredImage,
  output: BuildOutput,
  names: readonly FullReference[],
  signal: AbortSignal,
): Promise<void> {
  if (output.type === "local") {
    using view = await (await workshop.snapshotter()).view(image.config.rootfs.diff_ids);
    writeTree(view, output.dest, treeSyscalls(), signal);
    return;
  }
  const format = output.type === "oci" ? "oci-archive" : "docker-archive";
  await saveImages(workshop, [{ image, names }], { format, dest: output.dest, signal });
}
