import type { ImageSummary } from "../../cooper.js";
import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import { openProgress } from "../progress/open.js";
import { hexDigits } from "../text.js";
import { transferFlags, transferOptions, withoutTransport } from "./registry-flags.js";

const flags = {
  quiet: { kind: "boolean", short: "q", help: "print nothing but image ids" },
  ...transferFlags,
} as const satisfies FlagTable;

export const pull = command({
  usage: "[options] NAME [NAME...]",
  flags,
  operands: { min: 1 },
  unsupported: "all-tags,a arch decryption-key disable-content-trust os platform policy retry-delay variant",
  run: async ({ flags: given, operands }, world) => {
    const options = { ...transferOptions(given), signal: world.signal };
    const names = operands.map(withoutTransport);
    await using cooper = await world.open();
    for (const name of names) {
      const progress = openProgress(given.quiet ? "quiet" : "auto", world);
      let image: ImageSummary;
      try {
        image = await cooper.pull(name, { ...options, onEvent: progress.onEvent });
      } finally {
        progress.finish();
      }
      world.stdout.write(`${hexDigits(image.id)}\n`);
    }
    return 0;
  },
});
