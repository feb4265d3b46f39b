import { expandWord, type Lookup } from "../parser/index.js";

/** Nothing that an expansion would change, the common case. */
const PLAIN = /^[^$"'\\`]*$/;

/**
 * The variables that an instruction sees, as far as they are known. A value can be unknown (it depends on something
 * unknown), and in the stage of an unknown base image it is unknown whether a variable is set at all.
 */
export class Environment {
  /** Undefined: set, to a value that is not known. */
  readonly #values: Map<string, string | undefined>;
  readonly #declared: Set<string>;
  /** Set by ENV or the base image. */
  readonly #fixed: Set<string>;
  readonly escape: "\\" | "`";
  /** False: the base image may set more. */
  readonly complete: boolean;
  /** Whether a WORKDIR of the file is in force. */
  workdirSet = false;
  /** Whether a SHELL is in force. */
  hasShell = false;

  constructor(
    escape: "\\" | "`",
    complete: boolean,
    values: Iterable<readonly [string, string | undefined]> = [],
  ) {
    this.escape = escape;
    this.complete = complete;
    this.#values = new Map(values);
    this.#declared = new Set();
    this.#fixed = new Set(this.#values.keys());
  }

  /** What a stage that starts from this one begins with. */
  copy(): Environment {
    const copy = new Environment(this.escape, this.complete);
    for (const [name, value] of this.#values) copy.#values.set(name, value);
    for (const name of this.#declared) copy.#declared.add(name);
    for (const name of this.#fixed) copy.#fixed.add(name);
    copy.workdirSet = this.workdirSet;
    copy.hasShell = this.hasShell;
    return copy;
  }

  /** ENV: beats every ARG of that name, earlier or later. */
  setEnv(name: string, value: string | undefined): void {
    this.#values.set(name, value);
    this.#fixed.add(name);
  }

  setArg(name: string, value: string | undefined): void {
    if (!this.#fixed.has(name)) this.#values.set(name, value);
  }

  /** `ARG name` without any value: known, and empty. */
  declareArg(name: string): void {
    this.#declared.add(name);
  }

  /** True for a name that no ENV, ARG or base image can have set. */
  isUndefined(name: string): boolean {
    return this.complete && !this.#values.has(name) && !this.#declared.has(name);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** Undefined for a value that is not known as for one that is not set. */
  value(name: string): string | undefined {
    return this.#values.get(name);
  }

  /** Every name with a value. */
  names(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** A word with its variables filled in; undefined when it depends on what is not known, or cannot be expanded. */
  expand(text: string): string | undefined {
    if (PLAIN.test(text)) return text;
    let known = true;
    const lookup: Lookup = (name) => {
      const value = this.#values.get(name);
      if (value === undefined && !this.isUndefined(name) && !this.#isEmpty(name)) known = false;
      return value;
    };
    try {
      const expanded = expandWord(text, lookup, { escape: this.escape });
      return known ? expanded : undefined;
    } catch {
      return undefined;
    }
  }

  #isEmpty(name: string): boolean {
    return this.complete && this.#declared.has(name) && !this.#values.has(name);
  }
}
