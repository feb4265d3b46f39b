import { resolve } from "node:path";
import type { FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { oneLine } from "../text.js";

const flags = {
  input: {
    kind: "string",
    short: "i",
    value: "PATH",
    help: "archive or layout directory to read (default: stdin)",
  },
  quiet: { kind: "boolean", short: "q", help: "accepted for podman's sake; no progress is printed anyway" },
} as const satisfies FlagTable;

export const load = command({
  usage: "[options]",
  flags,
  operands: { min: 0, max: 0 },
  run: async ({ flags: given }, world) => {
    const fromStdin = given.input === undefined || given.input === "-" || given.input === "/dev/stdin";
    if (fromStdin && world.stdin.isTerminal) {
      throw usage("cooper load: cannot read an archive from the terminal; use --input or redirect stdin");
    }
    await using cooper = await world.open();
    const names = await cooper.load(fromStdin ? "-" : resolve(world.cwd, given.input ?? ""), {
      signal: world.signal,
    });
    world.stdout.write(names.map((name) => `Loaded image: ${oneLine(name)}\n`).join(""));
    return 0;
  },
});
