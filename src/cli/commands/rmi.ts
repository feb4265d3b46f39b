import type { FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { hexDigits, oneLine } from "../text.js";

const flags = {
  all: { kind: "boolean", short: "a", help: "remove all images" },
  force: { kind: "boolean", short: "f", help: "remove an image with all its names" },
} as const satisfies FlagTable;

export const rmi = command({
  usage: "[options] IMAGE [IMAGE...]",
  flags,
  operands: { min: 0 },
  unsupported: "ignore,i no-prune",
  run: async ({ flags: given, operands }, world) => {
    if (operands.length === 0 && !given.all)
      throw usage("cooper rmi: name at least one image, or give --all");
    if (operands.length > 0 && given.all) throw usage("cooper rmi: name images, or give --all, not both");
    await using cooper = await world.open();
    const { untagged, deleted } = await cooper.remove(operands, {
      force: given.force ?? false,
      all: given.all ?? false,
    });
    const lines = [
      ...untagged.map((name) => `Untagged: ${oneLine(name)}\n`),
      ...deleted.map((id) => `Deleted: ${hexDigits(id)}\n`),
    ];
    world.stdout.write(lines.join(""));
    return 0;
  },
});
