import type { Diagnosis, DoctorCheck } from "../../cooper.js";
import type { FlagTable } from "../args.js";
import { command } from "../command.js";
import { formatTable } from "../tables.js";
import { oneLine, terminalJson } from "../text.js";

const flags = {
  json: { kind: "boolean", help: "print JSON; docs/isolation.md has its shape" },
} as const satisfies FlagTable;

/** Nothing here can start a process. */
const NOTHING_WORKS = 1;

export const doctor = command({
  usage: "[options]",
  flags,
  operands: { min: 0, max: 0 },
  notes: ["Exit code 0: some driver works, 1: none does."],
  run: async ({ flags: { json } }, world) => {
    await using cooper = await world.open();
    const diagnosis = await cooper.doctor({ signal: world.signal });
    world.stdout.write(json ? `${terminalJson(diagnosis, "  ")}\n` : diagnosisText(diagnosis));
    return diagnosis.chosen === null ? NOTHING_WORKS : 0;
  },
});

interface Row extends Pick<DoctorCheck, "ok" | "found" | "call" | "errno" | "advice"> {
  readonly group: string;
  readonly name: string;
}

/** A table, what to change, and the answer. */
function diagnosisText({ checks, drivers, chosen }: Diagnosis): string {
  const rows: readonly Row[] = [...checks, ...drivers.map((each) => ({ ...each, group: "driver" }))];
  const cells = rows.map((row) => [row.group, row.name, VERDICTS[`${row.ok}`], foundCell(row)]);
  const answer =
    chosen === null ? "nothing here can isolate a process" : `--isolation auto picks ${chosen} here`;
  return `${formatTable([["GROUP", "CHECK", "OK", "FOUND"], ...cells])}\n${adviceText(rows)}${answer}\n`;
}

const VERDICTS = { true: "yes", false: "no", unknown: "?" } as const;

function foundCell({ found, call, errno }: Row): string {
  const refused = [call, errno].filter((word) => word !== undefined && !found.includes(word));
  return oneLine(refused.length === 0 ? found : `${found} (${refused.join(" ")})`);
}

/** Each advice once, with all that it is for. */
function adviceText(rows: readonly Row[]): string {
  const places = new Map<string, string[]>();
  for (const { group, name, ok, advice } of rows) {
    if (advice === undefined || ok === true) continue;
    places.set(advice, [...(places.get(advice) ?? []), `${group} ${name}`]);
  }
  const paragraphs = [...places].map(([advice, names]) => {
    const lines = advice.split("; ").map((line) => `  ${oneLine(line)}\n`);
    return `To change ${names.join(", ")}:\n${lines.join("")}\n`;
  });
  return paragraphs.join("");
}
