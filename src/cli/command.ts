import type { ArgumentRules, Flags, FlagTable } from "./args.js";
import type { World } from "./world.js";

/** One command: what it takes, what its help says, and what it does. */
export interface Command<T extends FlagTable = FlagTable> extends Omit<ArgumentRules<T>, "name"> {
  /** What follows `cooper NAME` in the usage line, e.g. `[options] CONTEXT`. */
  readonly usage: string;
  /** How many operands it takes; `max` is missing for any number. */
  readonly operands: { readonly min: number; readonly max?: number };
  /** Further lines of help. */
  readonly notes?: readonly string[];
  /** Does the work and returns the exit code; throws for everything that failed. */
  run(
    line: { readonly flags: Flags<T>; readonly operands: readonly string[] },
    world: World,
  ): Promise<number>;
}

/** Checks a command's definition against its own flag table and forgets the table's exact type. */
export function command<const T extends FlagTable>(definition: Command<T>): Command {
  return definition as unknown as Command;
}
