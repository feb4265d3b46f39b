import type { ArgInstruction, Instruction, PairsInstruction } from "../parser/index.js";
import { argValues } from "./args.js";
import { expandAt } from "./expand.js";
import type { Expansion } from "./expand.js";

/** What variables of a stage hold, as far as that can be told before its base image is there. */
export interface KnownVariables {
  /** Undefined: known to have no value. */
  readonly values: ReadonlyMap<string, string | undefined>;
  /** True when the base image may set variables that are not among `values`. */
  readonly open: boolean;
}

/** An instruction with the text that it comes from: the Containerfile, or a trigger. */
export interface PlannedInstruction {
  readonly instruction: Instruction;
  readonly at: Expansion;
}

export interface VariableScope {
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly buildArgs: ReadonlyMap<string, string>;
}

type Values = Map<string, string | undefined>;

/** What is known in front of the instruction `end`, or behind all of them, on top of what the stage's base knew. */
export function knownVariables(
  base: KnownVariables,
  instructions: readonly PlannedInstruction[],
  scope: VariableScope,
  end?: Instruction,
): KnownVariables {
  const values: Values = new Map(base.values);
  for (const { instruction, at } of instructions) {
    if (instruction === end) break;
    if (instruction.kind === "ARG") declare(instruction, values, base.open, { ...scope, ...at });
    else if (instruction.kind === "ENV") assign(instruction, values, base.open, at);
  }
  return { values, open: base.open };
}

/** What `expand` makes of the variables; undefined when it asks for one that is not known. */
export function expandKnown<T>(
  { values, open }: KnownVariables,
  expand: (lookup: (name: string) => string | undefined) => T,
): T | undefined {
  let known = true;
  const result = expand((name) => {
    if (open && !values.has(name)) known = false;
    return values.get(name);
  });
  return known ? result : undefined;
}

/** An ARG without any value counts as unset, though the base image might have a variable of its name. */
function declare(
  instruction: ArgInstruction,
  values: Values,
  open: boolean,
  scope: VariableScope & Expansion,
): void {
  for (const arg of instruction.args) {
    const seen = { values: new Map([[arg.name, undefined], ...values]), open };
    const declared = expandKnown(seen, (lookup) =>
      argValues({ ...instruction, args: [arg] }, lookup, scope.globalArgs, scope),
    );
    if (declared) values.set(arg.name, declared.get(arg.name));
    else values.delete(arg.name);
  }
}

function assign(instruction: PairsInstruction, values: Values, open: boolean, at: Expansion): void {
  const before = { values: new Map(values), open };
  const expand = (word: PairsInstruction["pairs"][number]["key"]): string | undefined =>
    expandKnown(before, (lookup) => expandAt(at.source, word, at.escape, lookup));
  for (const { key, value } of instruction.pairs) {
    const [name, text] = [expand(key), expand(value)];
    if (name === undefined) continue;
    if (text === undefined) values.delete(name);
    else values.set(name, text);
  }
}
