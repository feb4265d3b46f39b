import type { Cooper, Removed } from "../../cooper.js";
import { CooperError, hasCode } from "../../errors.js";
import type { FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { hexDigits, oneLine } from "../text.js";

const flags = {
  all: { kind: "boolean", short: "a", help: "remove all images" },
  force: {
    kind: "boolean",
    short: "f",
    help: "remove an image with all its names; one that is missing is no error",
  },
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
    const { untagged, deleted } = await remove(cooper, operands, {
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

interface RemoveOptions {
  readonly force: boolean;
  readonly all: boolean;
}

/** Exit codes of their own, as in podman: 1 when an image is missing, 2 when one is in use. */
async function remove(cooper: Cooper, operands: readonly string[], options: RemoveOptions): Promise<Removed> {
  try {
    const there = options.force ? await whatIsThere(cooper, operands) : operands;
    if (there.length === 0 && !options.all) return { untagged: [], deleted: [] };
    return await cooper.remove(there, options);
  } catch (error) {
    const exitCode = hasCode(error, "not-found") ? 1 : hasCode(error, "in-use") ? 2 : undefined;
    if (exitCode === undefined) throw error;
    const { code, message, hint } = error as CooperError;
    throw new CooperError(code, message, {
      exitCode,
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

async function whatIsThere(cooper: Cooper, names: readonly string[]): Promise<readonly string[]> {
  const there: string[] = [];
  for (const name of names) {
    try {
      await cooper.inspect(name);
      there.push(name);
    } catch (error) {
      // One that is damaged is there.
      if (!hasCode(error, "not-found")) there.push(name);
    }
  }
  return there;
}
