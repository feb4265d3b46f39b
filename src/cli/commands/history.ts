import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import { historyId, historyTable } from "../tables.js";
import { hexDigits, terminalJson } from "../text.js";

const flags = {
  quiet: { kind: "boolean", short: "q", help: "print ids only" },
  "no-trunc": { kind: "boolean", help: "print whole ids and commands" },
  human: { kind: "boolean", short: "H", help: "sizes and times in words (default true)" },
  format: { kind: "string", value: "FORMAT", choices: ["table", "json"], help: "table (default) or json" },
} as const satisfies FlagTable;

export const history = command({
  usage: "[options] IMAGE",
  flags,
  operands: { min: 1, max: 1 },
  run: async ({ flags: given, operands: [name = ""] }, world) => {
    await using cooper = await world.open();
    const rows = await cooper.history(name);
    const noTrunc = given["no-trunc"] ?? false;
    if (given.quiet) {
      world.stdout.write(rows.map((row) => `${historyId(row, { noTrunc })}\n`).join(""));
    } else if (given.format === "json") {
      const objects = rows.map((row) => ({
        id: row.id === undefined ? "<missing>" : hexDigits(row.id),
        created: row.created ?? null,
        CreatedBy: row.createdBy,
        size: row.size,
        comment: row.comment,
      }));
      world.stdout.write(`${terminalJson(objects)}\n`);
    } else {
      world.stdout.write(historyTable(rows, { now: world.now(), noTrunc, human: given.human ?? true }));
    }
    return 0;
  },
});
