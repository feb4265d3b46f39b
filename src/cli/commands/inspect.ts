import type { ImageDetails } from "../../cooper.js";
import { hasCode } from "../../errors.js";
import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import { splitName } from "../tables.js";
import { hexDigits, terminalJson } from "../text.js";

const INDENT = "     ";

/** Source: OCI image-spec media-types.md; docker distribution, image manifest schema 2. */
const MANIFEST_TYPES = {
  oci: "application/vnd.oci.image.manifest.v1+json",
  docker: "application/vnd.docker.distribution.manifest.v2+json",
} as const;

const flags = {
  type: { kind: "string", short: "t", value: "TYPE", choices: ["image", "all"], help: "image" },
} as const satisfies FlagTable;

export const inspect = command({
  usage: "[options] IMAGE [IMAGE...]",
  flags,
  operands: { min: 1 },
  unsupported: "format,f latest,l size,s",
  run: async ({ operands }, world) => {
    await using cooper = await world.open();
    const found: ImageDetails[] = [];
    let missing: unknown;
    for (const name of operands) {
      try {
        found.push(await cooper.inspect(name));
      } catch (error) {
        if (!hasCode(error, "not-found")) throw error;
        missing ??= error;
      }
    }
    // As podman does: what was found is printed, even when something else was not.
    world.stdout.write(`${terminalJson(found.map(inspectJson), INDENT)}\n`);
    if (missing !== undefined) throw missing;
    return 0;
  },
});

/** podman's `image inspect` object, with what an image of ours has. */
export function inspectJson(image: ImageDetails): Readonly<Record<string, unknown>> {
  const { config, digest } = image;
  const repositories = new Set(image.names.map((name) => splitName(name).repository));
  return {
    Id: hexDigits(image.id),
    ...(digest === undefined ? {} : { Digest: digest }),
    RepoTags: image.names.filter((name) => !name.includes("@")),
    RepoDigests: digest === undefined ? [] : [...repositories].map((name) => `${name}@${digest}`),
    Created: config.created ?? new Date(image.created).toISOString(),
    Author: config.author ?? "",
    Config: config.config,
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    Size: image.size,
    ManifestType: MANIFEST_TYPES[image.format],
    RootFS: { Type: config.rootfs.type, Layers: config.rootfs.diff_ids },
    Labels: config.config.Labels ?? null,
    User: config.config.User ?? "",
    History: config.history,
  };
}
