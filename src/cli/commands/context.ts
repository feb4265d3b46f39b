import { resolve } from "node:path";
import { CooperError } from "../../errors.js";
import type { ContextEntry, ContextListing, ContextOptions, PathExplanation } from "../../cooper.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";
import { command } from "../command.js";
import { eventLine } from "../progress/lines.js";
import { byteSize, oneLine, terminalJson } from "../text.js";
import type { World } from "../world.js";

const flags = {
  file: {
    kind: "once",
    short: "f",
    value: "FILE",
    help: "the Containerfile whose own ignore file counts (default: as in build)",
  },
  ignorefile: { kind: "string", value: "FILE", help: "the ignore file (default: as in build)" },
  why: {
    kind: "list",
    value: "PATH",
    help: "say of this path of the context which line hides it or shows it; may be repeated",
  },
  long: { kind: "boolean", short: "l", help: "with permissions, sizes and what links hold" },
  json: { kind: "boolean", help: "as JSON" },
} as const satisfies FlagTable;

type Given = Flags<typeof flags>;

/** As grep and diff say no. */
const NOT_SEEN = 1;

export const contextLs = command({
  usage: "[options] [CONTEXT]",
  flags,
  operands: { min: 0, max: 1 },
  notes: [
    "Prints every path that a build of this context would see; a slash marks directories. Totals go to stderr.",
    "With --why it exits with 0 when a build would see every PATH, and with 1 when one is hidden or does not exist.",
  ],
  run: async ({ flags: given, operands }, world) => {
    const options = contextOptions(given, operands, world);
    const library = await import("../../index.js");
    if (given.why.length === 0) {
      printListing(await library.listContext(options), given, world);
      return 0;
    }
    const found = await library.explainPaths(given.why, options);
    const text = found.map((each) => `${oneLine(sentence(each))}\n`).join("");
    world.stdout.write(given.json ? `${terminalJson(found, "    ")}\n` : text);
    return found.every(isSeen) ? 0 : NOT_SEEN;
  },
});

function contextOptions(given: Given, operands: readonly string[], world: World): ContextOptions {
  const [context] = operands;
  if (context === undefined && given.file !== undefined)
    throw usage("no context directory given; for the current one: cooper context ls -f FILE .");
  if (context !== undefined && /^-$|^[a-z][a-z0-9+]*:\/\/|^git@/.test(context))
    throw new CooperError("unsupported", `"cooper context ls" looks only at directories, not at ${context}`);
  return {
    contextDir: resolve(world.cwd, context ?? "."),
    ...(given.file === undefined ? {} : { file: given.file }),
    ...(given.ignorefile === undefined ? {} : { ignoreFile: resolve(world.cwd, given.ignorefile) }),
    onEvent: (event) => {
      const line = eventLine(event);
      if (line !== undefined) world.stderr.write(`${line}\n`);
    },
  };
}

function printListing(listing: ContextListing, given: Given, world: World): void {
  if (given.json) {
    world.stdout.write(`${terminalJson(listing, "    ")}\n`);
    return;
  }
  const line = given.long ? longLine : shownPath;
  world.stdout.write(listing.entries.map((entry) => `${oneLine(line(entry))}\n`).join(""));
  world.stderr.write(`${oneLine(totals(listing))}\n`);
}

function shownPath({ path, type }: ContextEntry): string {
  return type === "dir" ? `${path}/` : path;
}

/** As in `ls -l`: `-rw-r--r--   1.09 kB path`. */
function longLine(entry: ContextEntry): string {
  const size = entry.type === "file" ? byteSize(entry.size) : "-";
  const target = entry.target === undefined ? "" : ` -> ${entry.target}`;
  return `${permissions(entry)} ${size.padStart(8)} ${shownPath(entry)}${target}`;
}

const LETTERS = { file: "-", dir: "d", symlink: "l", char: "c", block: "b", fifo: "p", socket: "s" } as const;

function permissions({ type, mode }: ContextEntry): string {
  const three = (shift: number, special: number, letter: string): string => {
    const bits = mode >> shift;
    const x = (bits & 1) !== 0;
    const last = (mode & special) === 0 ? (x ? "x" : "-") : x ? letter : letter.toUpperCase();
    return `${(bits & 4) === 0 ? "-" : "r"}${(bits & 2) === 0 ? "-" : "w"}${last}`;
  };
  return `${LETTERS[type]}${three(6, 0o4000, "s")}${three(3, 0o2000, "s")}${three(0, 0o1000, "t")}`;
}

function totals({ entries, ignoreFile }: ContextListing): string {
  const directories = entries.filter(({ type }) => type === "dir").length;
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  const counted = `${count(entries.length - directories, "file")}, ${count(directories, "directory")}, ${byteSize(bytes)}`;
  return `${counted}; ignore file: ${ignoreFile ?? "none"}`;
}

function count(number: number, noun: string): string {
  if (number === 1) return `1 ${noun}`;
  return `${number} ${noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;
}

function isSeen({ outcome }: PathExplanation): boolean {
  return outcome === "visible" || outcome === "parent";
}

/** One path in one sentence, with the line that decided. */
function sentence({ path, outcome, line, parent, ignoreFile }: PathExplanation): string {
  const name = path === "" ? "." : path;
  const rule = line ? `${line.where}: ${line.text}` : "";
  switch (outcome) {
    case "missing":
      return `${name} does not exist`;
    case "socket":
      return `${name} is left out: an image cannot hold sockets`;
    case "parent":
      return `${name} is visible for what it holds; by itself it is hidden by ${rule}`;
    case "hidden":
      return parent === undefined
        ? `${name} is hidden by ${rule}`
        : `${name} is hidden because its parent ${parent}/ is hidden by ${rule}`;
    case "visible":
      if (rule === "")
        return `${name} is visible: ${ignoreFile ? "no line hides it" : "there is no ignore file"}`;
      return parent === undefined
        ? `${name} is visible: ${rule}`
        : `${name} is visible because its parent ${parent}/ is: ${rule}`;
  }
}
