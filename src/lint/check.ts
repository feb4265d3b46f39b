/** Which findings count, and how much. */
export interface LintConfig {
  readonly skipAll: boolean;
  readonly skip: ReadonlySet<string>;
  readonly experimentalAll: boolean;
  readonly experimental: ReadonlySet<string>;
  /** True: a finding is an error. */
  readonly error: boolean;
  /** What is wrong with the text; then nothing else of it counts. */
  readonly problem?: string;
}

/** As Go's strconv.ParseBool, with which BuildKit reads it. */
const BOOLEANS: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(["1", "t", "T", "true", "TRUE", "True"].map((text) => [text, true])),
  ...Object.fromEntries(["0", "f", "F", "false", "FALSE", "False"].map((text) => [text, false])),
};

/**
 * The value of `# check=`: options separated by ";", `skip` and `experimental` with names separated by ",", or `all`.
 * Only what stands before the first blank counts, and of two lists the last. Experimental rules are on only when named here, and then `skip` does
 * not concern them. Source: BuildKit, `# check`.
 */
export function readConfig(value: string): LintConfig {
  const config = {
    skipAll: false,
    skip: new Set<string>(),
    experimentalAll: false,
    experimental: new Set<string>(),
    error: false,
  };
  const [text = ""] = value.trim().split(/\s/, 1);
  if (text === "") return config;
  for (const option of text.split(";")) {
    const equals = option.indexOf("=");
    const name = equals < 0 ? option : option.slice(0, equals);
    const given = option.slice(equals + 1);
    if (equals < 0 || !["skip", "experimental", "error"].includes(name))
      return { ...config, problem: unknownOption(name) };
    if (name === "error") {
      const error = Object.hasOwn(BOOLEANS, given) ? BOOLEANS[given] : undefined;
      if (error === undefined) return { ...config, problem: `error is "${given}", it must be true or false` };
      config.error = error;
    } else {
      if (given === "all") config[name === "skip" ? "skipAll" : "experimentalAll"] = true;
      else config[name === "skip" ? "skip" : "experimental"] = new Set(given.split(","));
    }
  }
  return config;
}

function unknownOption(name: string): string {
  return name === ""
    ? 'there is an empty option; options are separated by one ";"'
    : `there is no option "${name}"; there are skip=RULE,RULE or skip=all, experimental=…, and error=true`;
}

/** Whether findings of a rule count. */
export function isOn(
  config: LintConfig,
  rule: { readonly name: string; readonly experimental?: true },
): boolean {
  if (rule.experimental) return config.experimentalAll || config.experimental.has(rule.name);
  return !config.skipAll && !config.skip.has(rule.name);
}
