import type { FlagSpec, FlagTable } from "./args.js";
import type { Command } from "./command.js";

const GAP = 3;
const WIDEST_LEFT = 34;

/** `cooper --help`. */
export function mainHelp(summaries: Readonly<Record<string, string>>, globals: FlagTable): string {
  return [
    "Build OCI images from Containerfiles without a daemon",
    "",
    "Usage:",
    "  cooper [options] COMMAND",
    "",
    "Commands:",
    ...columns(Object.entries(summaries)),
    "",
    "Options:",
    ...columns(flagRows(globals)),
    "",
    "cooper COMMAND --help shows the options of a command.",
    "",
  ].join("\n");
}

/** `cooper COMMAND --help`. */
export function commandHelp(name: string, summary: string, command: Command, globals: FlagTable): string {
  const flags = flagRows(command.flags);
  return [
    summary,
    "",
    "Usage:",
    `  cooper ${name} ${command.usage}`.trimEnd(),
    ...(command.notes ?? []).flatMap((note) => ["", note]),
    ...(flags.length === 0 ? [] : ["", "Options:", ...columns(flags)]),
    "",
    "Global options:",
    ...columns(flagRows(globals, command.flags)),
    "",
  ].join("\n");
}

function flagRows(flags: FlagTable, taken: FlagTable = {}): readonly (readonly [string, string])[] {
  const letters = new Set(Object.values(taken).map(({ short }) => short));
  return Object.entries(flags).map(([name, spec]) => {
    const short = spec.short === undefined || letters.has(spec.short) ? "    " : `-${spec.short}, `;
    return [`${short}--${name}${placeholder(spec)}`, spec.help];
  });
}

function placeholder(spec: FlagSpec): string {
  if (spec.kind === "boolean") return "";
  const value = spec.value ?? "VALUE";
  return spec.kind === "optional" ? `[=${value}]` : ` ${value}`;
}

function columns(rows: readonly (readonly [string, string])[]): readonly string[] {
  const fitting = rows.map(([left]) => left.length).filter((length) => length <= WIDEST_LEFT);
  const width = Math.max(0, ...fitting) + GAP;
  return rows.flatMap(([left, right]) =>
    left.length + GAP > width
      ? [`  ${left}`, `  ${" ".repeat(width)}${right}`]
      : [`  ${left.padEnd(width)}${right}`],
  );
}
