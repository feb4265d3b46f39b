// The command line of `npm run fuzz`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Finding, fuzz } from "./fuzz.js";
import { targets } from "./targets.js";

const NAMES = Object.keys(targets);
const USAGE = `npm run fuzz -- [OPTIONS]

Changes Containerfiles, words, ignore files and mounts of the fixtures at random, and checks what must hold for any text.

  --seconds N     how long (600)
  --runs N        how many inputs for each target, instead of a time
  --seed N        the same seed gives the same inputs (the time of day)
  --target NAME   ${NAMES.join(", ")} or all (all); may be repeated
  --out DIR       where findings are written (fuzz-findings)

Exit status: 0 nothing found, 1 findings, 2 wrong use.`;

const FOUND = 1;
const WRONG_USE = 2;

/** Returns the exit status. */
export async function main(args: readonly string[], root: string): Promise<number> {
  const options = readOptions(args);
  if (!options) {
    console.error(USAGE);
    return WRONG_USE;
  }
  const { seed, runs, seconds, out } = options;
  console.log(`seed ${seed}, targets ${options.targets.join(" ")}`);
  const limit = runs === undefined ? { until: Date.now() + seconds * 1000 } : { runs };
  const onFinding = (finding: Finding): void => console.log(write(finding, out));
  const { findings, inputs } = await fuzz({ root, targets: options.targets, seed, ...limit, onFinding });
  for (const [name, count] of Object.entries(inputs)) console.log(`${name}: ${count} inputs`);
  console.log(findings.length === 0 ? "nothing found" : `${findings.length} findings in ${out}`);
  return findings.length === 0 ? 0 : FOUND;
}

function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "600" },
      runs: { type: "string" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      target: { type: "string", multiple: true, default: ["all"] },
      out: { type: "string", default: "fuzz-findings" },
    },
  });
  const numbers = [values.seconds, values.seed, values.runs ?? "1"].map(Number);
  const chosen = values.target.includes("all") ? NAMES : values.target;
  if (!numbers.every((one) => Number.isInteger(one) && one >= 0)) return undefined;
  if (!chosen.every((name) => NAMES.includes(name))) return undefined;
  const [seconds = 0, seed = 0, runs = 0] = numbers;
  return { seconds, seed, out: values.out, targets: chosen, ...(values.runs === undefined ? {} : { runs }) };
}

/** Two files: the minimal input, and a report with everything that is known. The line to print. */
function write(finding: Finding, out: string): string {
  const { target, seed, index, fault, minimal } = finding;
  mkdirSync(out, { recursive: true });
  const name = join(out, `${target}-${seed}-${index}`);
  writeFileSync(`${name}.txt`, minimal);
  writeFileSync(`${name}.json`, `${JSON.stringify(finding, null, 2)}\n`);
  return `${target}, input ${index}: ${fault.split("\n", 1)[0]}\n  ${name}.txt: ${JSON.stringify(minimal.slice(0, 200))}`;
}
