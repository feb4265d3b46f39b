import type { Descriptor } from "../../image/index.js";
import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import { openProgress } from "../progress/open.js";
import { transferFlags, transferOptions, withoutTransport } from "./registry-flags.js";
import { writeResult } from "./result-file.js";

/** podman says v2s2, buildah docker. */
const FORMATS = { oci: "oci", v2s2: "docker", docker: "docker" } as const;

const flags = {
  digestfile: { kind: "string", value: "FILE", help: "write the digest of the pushed manifest to a file" },
  format: {
    kind: "string",
    short: "f",
    value: "FORMAT",
    choices: Object.keys(FORMATS),
    help: "format of the manifest: oci, docker or v2s2 (default: the image's)",
  },
  quiet: { kind: "boolean", short: "q", help: "print nothing" },
  ...transferFlags,
} as const satisfies FlagTable;

export const push = command({
  usage: "[options] IMAGE [DESTINATION]",
  flags,
  operands: { min: 1, max: 2 },
  unsupported:
    "all compress compression-format compression-level disable-content-trust encrypt-layer encryption-key force-compression " +
    "remove-signatures retry-delay rm sign-by sign-by-sigstore sign-by-sigstore-private-key sign-passphrase-file",
  run: async ({ flags: given, operands: [image = "", destination] }, world) => {
    const format = given.format === undefined ? undefined : FORMATS[given.format as keyof typeof FORMATS];
    const options = { ...transferOptions(given), ...(format ? { format } : {}), signal: world.signal };
    const to = destination === undefined ? undefined : withoutTransport(destination);
    const progress = openProgress(given.quiet ? "quiet" : "auto", world);
    let pushed: Descriptor;
    try {
      await using cooper = await world.open();
      pushed = await cooper.push(image, to, { ...options, onEvent: progress.onEvent });
    } finally {
      progress.finish();
    }
    if (given.digestfile !== undefined) writeResult(given.digestfile, pushed.digest, world);
    return 0;
  },
});
