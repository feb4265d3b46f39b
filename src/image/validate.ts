import { layerCompression, mediaTypes } from "./descriptor.js";
import type { ImageConfig } from "./config.js";
import type { Manifest } from "./manifest.js";

/** Every way in which a manifest and its config disagree, one sentence each; empty when the image is sound. */
export function findMismatches(manifest: Manifest, config: ImageConfig): readonly string[] {
  const found: string[] = [];
  const layers = manifest.layers.length;
  const diffIds = config.rootfs.diff_ids.length;
  if (layers !== diffIds) found.push(`the manifest has ${layers} layers, the config ${diffIds} diff_ids`);
  const history = config.history.filter((entry) => entry.empty_layer !== true).length;
  if (config.history.length > 0 && history !== diffIds) {
    found.push(`the history tells of ${history} layers, the config has ${diffIds}`);
  }
  const docker = manifest.mediaType === mediaTypes.dockerManifest;
  for (const layer of manifest.layers) {
    if (layerCompression(layer.mediaType) === undefined)
      found.push(`${layer.mediaType} is not a layer media type`);
    else if (layer.mediaType.startsWith("application/vnd.docker.") !== docker) {
      found.push(`${layer.mediaType} does not go with ${manifest.mediaType}`);
    }
  }
  return found;
}
