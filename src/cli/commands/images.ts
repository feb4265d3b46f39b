import type { Cooper, ImageSummary } from "../../cooper.js";
import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import type { ImageRow } from "../tables.js";
import { imageIds, imageRows, imagesTable, newestFirst } from "../tables.js";
import { hexDigits, terminalJson } from "../text.js";

const flags = {
  all: { kind: "boolean", short: "a", help: "also show the results of steps" },
  quiet: { kind: "boolean", short: "q", help: "print image ids only" },
  digests: { kind: "boolean", help: "show the digests of manifests" },
  format: { kind: "string", value: "FORMAT", choices: ["table", "json"], help: "table (default) or json" },
  "no-trunc": { kind: "boolean", help: "print whole ids" },
  noheading: { kind: "boolean", short: "n", help: "leave the column headings out" },
} as const satisfies FlagTable;

export const images = command({
  usage: "[options] [NAME]",
  flags,
  operands: { min: 0, max: 1 },
  unsupported: "filter,f history sort",
  run: async ({ flags: given, operands }, world) => {
    await using cooper = await world.open();
    const [name] = operands;
    const all = newestFirst(await cooper.images({ all: given.all ?? false }));
    const rows = imageRows(all).filter((row) => name === undefined || isNamed(row, name));
    const noTrunc = given["no-trunc"] ?? false;
    if (given.quiet) {
      world.stdout.write(imageIds(rows, { noTrunc }));
    } else if (given.format === "json") {
      const shown = new Set(rows.map((row) => row.image));
      world.stdout.write(`${terminalJson([...shown].map(imageJson), "    ")}\n`);
    } else {
      const digests = given.digests ? await digestsOf(cooper, rows) : undefined;
      const table = imagesTable(rows, {
        now: world.now(),
        noTrunc,
        noHeading: given.noheading ?? false,
        ...(digests ? { digests } : {}),
      });
      world.stdout.write(table);
    }
    return 0;
  },
});

/** `app`, `app:1`, `ns/app`, `host/ns/app:1` all find `host/ns/app:1`. */
function isNamed(row: ImageRow, name: string): boolean {
  return [row.repository, `${row.repository}:${row.tag}`].some(
    (full) => full === name || full.endsWith(`/${name}`),
  );
}

async function digestsOf(cooper: Cooper, rows: readonly ImageRow[]): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const { image } of rows) {
    if (found.has(image.id)) continue;
    const { digest } = await cooper.inspect(hexDigits(image.id));
    if (digest !== undefined) found.set(image.id, digest);
  }
  return found;
}

function imageJson(image: ImageSummary): Readonly<Record<string, unknown>> {
  return {
    Id: hexDigits(image.id),
    RepoTags: image.names,
    Names: image.names,
    Size: image.size,
    Dangling: image.names.length === 0,
    Created: Math.trunc(image.created / 1000),
    CreatedAt: new Date(image.created).toISOString(),
  };
}
