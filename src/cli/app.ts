import { CooperError } from "../errors.js";
import type { FlagTable } from "./args.js";
import { parseArguments, usage } from "./args.js";
import type { Command } from "./command.js";
import type { CommandName } from "./commands/catalogue.js";
import { groups, isCommand, loadCommand, summaries, unsupportedCommands } from "./commands/catalogue.js";
import { exitCodeOf, FAILURE, renderFailure } from "./failure.js";
import { nearest } from "./suggest.js";
import type { World } from "./world.js";

const globals = {
  root: {
    kind: "string",
    value: "DIR",
    help: "where images and cache are kept (default: COOPER_ROOT, else the user's data directory)",
  },
  help: { kind: "boolean", short: "h", help: "show this help" },
} as const satisfies FlagTable;

const beforeCommand = {
  ...globals,
  version: { kind: "boolean", short: "v", help: "show the version" },
} as const satisfies FlagTable;

/** Runs one command line (without `node` and the script). Resolves to the exit code and never rejects. */
export async function main(argv: readonly string[], world: World): Promise<number> {
  try {
    return await dispatch(argv, world);
  } catch (error) {
    const cause: unknown = world.signal.aborted ? world.signal.reason : error;
    world.stderr.write(renderFailure(cause, { debug: isDebug(world) }));
    return exitCodeOf(cause);
  }
}

/** True when stacks are wanted. */
export function isDebug({ env }: Pick<World, "env">): boolean {
  return env["COOPER_DEBUG"] === "1";
}

async function dispatch(argv: readonly string[], world: World): Promise<number> {
  const { flags, operands } = parseArguments(argv, {
    name: "cooper",
    flags: beforeCommand,
    optionsFirst: true,
  });
  if (flags.version) {
    world.stdout.write(`cooper version ${world.version}\n`);
    return 0;
  }
  const [first, ...rest] = operands;
  if (first === "help") return showHelp(rest, world);
  if (flags.help) return showHelp(operands, world);
  if (first === undefined) {
    await showHelp([], { stdout: world.stderr });
    return FAILURE;
  }
  const { name, args } = resolveCommand(first, rest);
  return runCommand(name, args, flags.root, world);
}

async function runCommand(
  name: CommandName,
  args: readonly string[],
  root: string | undefined,
  world: World,
): Promise<number> {
  const command = await loadCommand(name);
  const { flags, operands } = parseArguments(args, {
    name: `cooper ${name}`,
    flags: withGlobals(command.flags),
    ...(command.unsupported === undefined ? {} : { unsupported: command.unsupported }),
    ...(command.optionsFirst === undefined ? {} : { optionsFirst: command.optionsFirst }),
  });
  if (flags["help"] === true) return showHelp(name.split(" "), world);
  checkOperands(name, command, operands);
  const store = typeof flags["root"] === "string" ? flags["root"] : root;
  if (store === "") throw usage("--root: an empty name is no directory");
  const open: World["open"] = () => world.open(store === undefined ? {} : { root: store });
  return command.run({ flags, operands }, { ...world, open });
}

/** A command's own letter wins: in `run`, -h is the host name, as in podman. */
function withGlobals(flags: FlagTable): FlagTable {
  const letters = new Set(Object.values(flags).map(({ short }) => short));
  const { short, ...longHelp } = globals.help;
  return { root: globals.root, help: letters.has(short) ? longHelp : globals.help, ...flags };
}

/** Finds the command that the first words name, with what is left of them. Throws `usage` or `unsupported`. */
function resolveCommand(
  first: string,
  rest: readonly string[],
): { readonly name: CommandName; readonly args: readonly string[] } {
  const [second, ...args] = rest;
  const group = Object.hasOwn(groups, first) ? groups[first] : undefined;
  if (group) {
    const name = second !== undefined && Object.hasOwn(group, second) ? group[second] : undefined;
    if (name !== undefined) return { name, args };
    if (second === undefined)
      throw usage(`"cooper ${first}" needs one of these behind it: ${Object.keys(group).join(", ")}`);
    throw usage(`unknown command "${first} ${second}" for "cooper"`);
  }
  if (isCommand(first)) return { name: first, args: rest };
  if (unsupportedCommands.split(" ").includes(first)) {
    throw new CooperError("unsupported", `"cooper ${first}" is not supported yet`);
  }
  const suggestion = nearest(first, Object.keys(summaries));
  throw usage(
    `unknown command "${first}" for "cooper"${suggestion === undefined ? "" : `; did you mean "${suggestion}"?`}`,
  );
}

function checkOperands(name: string, command: Command, operands: readonly string[]): void {
  const { min, max = Number.POSITIVE_INFINITY } = command.operands;
  if (operands.length >= min && operands.length <= max) return;
  const bound = operands.length < min ? `at least ${min}` : `at most ${max}`;
  const wanted = min === max ? `exactly ${min}` : bound;
  const plural = (operands.length < min ? min : max) === 1 ? "argument" : "arguments";
  throw new CooperError("usage", `"cooper ${name}" takes ${wanted} ${plural}, ${operands.length} given`, {
    hint: `usage: cooper ${name} ${command.usage}`.trimEnd(),
  });
}

async function showHelp(topic: readonly string[], world: Pick<World, "stdout">): Promise<number> {
  const { mainHelp, commandHelp } = await import("./help.js");
  const [first, ...rest] = topic;
  if (first === undefined) {
    world.stdout.write(mainHelp(summaries, beforeCommand));
    return 0;
  }
  const { name } = resolveCommand(first, rest);
  const command = await loadCommand(name);
  world.stdout.write(commandHelp(name, summaries[name], command, globals));
  return 0;
}
