import { parseArgs } from "node:util";
import { CooperError } from "../errors.js";
import { nearest } from "./suggest.js";

interface FlagBase {
  /** One letter. */
  readonly short?: string;
  /** What the help calls the value, e.g. `FILE`. */
  readonly value?: string;
  readonly help: string;
  /** The only values allowed. */
  readonly choices?: readonly string[];
}

/**
 * One flag. `boolean`: `--x`, `--x=false`; `string`: the last one counts; `once`: a string that may not be repeated;
 * `list`: repeatable, in order; `number`: a whole number from 0; `optional`: `--x` means `implied`, else `--x=value`.
 */
export type FlagSpec =
  | (FlagBase & { readonly kind: "boolean" | "string" | "once" | "list" | "number" })
  | (FlagBase & { readonly kind: "optional"; readonly implied: string });

/** The flags of a command by their long names; both the parser and the help read it. */
export type FlagTable = Readonly<Record<string, FlagSpec>>;

interface ValueOf {
  readonly boolean: boolean | undefined;
  readonly string: string | undefined;
  readonly once: string | undefined;
  readonly list: readonly string[];
  readonly number: number | undefined;
  readonly optional: string | undefined;
}

/** What was given for each flag of a table; undefined where nothing was. */
export type Flags<T extends FlagTable> = { readonly [K in keyof T]: ValueOf[T[K]["kind"]] };

/** What a command must know to parse its arguments. */
export interface ArgumentRules<T extends FlagTable = FlagTable> {
  /** As typed, e.g. `cooper build`; used in messages. */
  readonly name: string;
  readonly flags: T;
  /** Flags that podman or docker have and this version does not: `name` or `name,s` with its letter. */
  readonly unsupported?: string;
  /** True: the first operand ends the flags (`run IMAGE CMD --its-own-flags`). */
  readonly optionsFirst?: boolean;
}

export interface ParsedArguments<T extends FlagTable = FlagTable> {
  readonly flags: Flags<T>;
  readonly operands: readonly string[];
}

/** Splits a command's arguments into flags and operands. Throws `usage` or `unsupported`, naming the flag. */
export function parseArguments<T extends FlagTable>(
  args: readonly string[],
  rules: ArgumentRules<T>,
): ParsedArguments<T> {
  const found = new Map<string, string | boolean | number | string[]>();
  const operands: string[] = [];
  for (const token of tokenize(args, rules.flags)) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      if (rules.optionsFirst) {
        operands.push(...args.slice(token.index));
        break;
      }
      operands.push(token.value);
      continue;
    }
    const spec = Object.hasOwn(rules.flags, token.name) ? rules.flags[token.name] : undefined;
    if (!spec) throw unknownFlag(token.rawName, rules);
    setFlag(found, token.name, spec, valueOf(token, spec));
  }
  for (const [name, { kind }] of Object.entries(rules.flags)) {
    if (kind === "list" && !found.has(name)) found.set(name, []);
  }
  return { flags: Object.fromEntries(found) as unknown as Flags<T>, operands };
}

type Token = NonNullable<ReturnType<typeof parseArgs>["tokens"]>[number];
type OptionToken = Extract<Token, { kind: "option" }>;

function tokenize(args: readonly string[], flags: FlagTable): readonly Token[] {
  const options = Object.entries(flags).map(([name, { kind, short }]) => [
    name,
    // A flag with an optional value never takes the next argument, so for Node it is a boolean.
    {
      type: kind === "boolean" || kind === "optional" ? ("boolean" as const) : ("string" as const),
      ...(short ? { short } : {}),
    },
  ]);
  return (
    parseArgs({
      args: [...args],
      options: Object.fromEntries(options) as Record<string, { type: "boolean" | "string"; short?: string }>,
      // Node's strict mode has messages of its own and knows no optional values.
      strict: false,
      allowPositionals: true,
      tokens: true,
    }).tokens ?? []
  );
}

function valueOf(token: OptionToken, spec: FlagSpec): string | boolean | number {
  const flag = token.rawName;
  // `-f=x` is `-f x`, as in podman; Node gives it as the value `=x`.
  const text = token.inlineValue && !flag.startsWith("--") ? token.value.replace(/^=/, "") : token.value;
  if (spec.kind === "boolean") return text === undefined ? true : booleanOf(flag, text);
  if (spec.kind === "optional" && text === undefined) return spec.implied;
  if (text === undefined) throw usage(`${flag} needs a value`);
  if (spec.choices && !spec.choices.includes(text)) {
    throw usage(`${flag}: "${text}" is not one of: ${spec.choices.join(", ")}`);
  }
  if (spec.kind !== "number") return text;
  if (!/^\d{1,9}$/.test(text)) throw usage(`${flag}: "${text}" is not a whole number`);
  return Number(text);
}

function booleanOf(flag: string, text: string): boolean {
  if (/^(?:true|t|1)$/i.test(text)) return true;
  if (/^(?:false|f|0)$/i.test(text)) return false;
  throw usage(`${flag}: "${text}" is neither true nor false`);
}

function setFlag(
  found: Map<string, string | boolean | number | string[]>,
  name: string,
  spec: FlagSpec,
  value: string | boolean | number,
): void {
  if (spec.kind === "list") {
    const list = found.get(name);
    if (Array.isArray(list)) list.push(String(value));
    else found.set(name, [String(value)]);
    return;
  }
  if (spec.kind === "once" && found.has(name))
    throw new CooperError("unsupported", `--${name} can be given only once`);
  found.set(name, value);
}

function unknownFlag(flag: string, rules: ArgumentRules): CooperError {
  const bare = flag.replace(/^--?/, "");
  const known = (rules.unsupported ?? "").split(" ").find((entry) => entry.split(",").includes(bare));
  if (known !== undefined && bare.length > 1 === flag.startsWith("--")) {
    return new CooperError("unsupported", `${flag} is not supported yet by "${rules.name}"`);
  }
  const suggestion = flag.startsWith("--") ? nearest(bare, Object.keys(rules.flags)) : undefined;
  const hint = suggestion === undefined ? "" : `; did you mean --${suggestion}?`;
  return usage(`unknown flag ${flag} for "${rules.name}"${hint}`);
}

/** A mistake on the command line. */
export function usage(message: string): CooperError {
  return new CooperError("usage", message);
}
