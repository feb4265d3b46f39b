import { resolve } from "node:path";
import type { SaveFormat } from "../../cooper.js";
import type { FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";

const FORMATS = ["docker-archive", "oci-archive", "oci-dir"] as const satisfies readonly SaveFormat[];

const flags = {
  format: {
    kind: "string",
    value: "FORMAT",
    choices: FORMATS,
    help: "docker-archive (default), oci-archive or oci-dir",
  },
  output: {
    kind: "string",
    short: "o",
    value: "PATH",
    help: "where to write (default: stdout, which must be redirected)",
  },
  quiet: { kind: "boolean", short: "q", help: "accepted for podman's sake; nothing is printed anyway" },
} as const satisfies FlagTable;

export const save = command({
  usage: "[options] IMAGE [IMAGE...]",
  flags,
  operands: { min: 1 },
  unsupported: "compress multi-image-archive,m uncompressed",
  run: async ({ flags: given, operands }, world) => {
    const format = FORMATS.find((known) => known === given.format) ?? "docker-archive";
    const toStdout = given.output === undefined || given.output === "-" || given.output === "/dev/stdout";
    if (toStdout && format === "oci-dir") throw usage("cooper save: --format oci-dir needs --output DIR");
    if (toStdout && world.stdout.isTerminal) {
      throw usage(
        "cooper save: refusing to write an archive to the terminal; use --output or redirect stdout",
      );
    }
    await using cooper = await world.open();
    const dest = toStdout ? "-" : resolve(world.cwd, given.output ?? "");
    await cooper.save(operands, { format, dest, signal: world.signal });
    return 0;
  },
});
