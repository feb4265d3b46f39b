const NANOSECONDS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3, // U+00B5, micro sign
  μs: 1e3, // U+03BC, Greek letter
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** The longest that a config can hold: int64 nanoseconds, 292 years. */
const LONGEST = 2 ** 63;

/**
 * A duration such as `30s`, `1m30s`, `1.5h`, `500ms` or `0` in nanoseconds, undefined when the text is none; never
 * negative. Source: Go `time.ParseDuration`, the format of HEALTHCHECK's flags.
 */
export function parseDuration(text: string): number | undefined {
  const unsigned = text.startsWith("+") ? text.slice(1) : text;
  if (unsigned === "0") return 0;
  if (unsigned === "" || unsigned.length > 100) return undefined;
  const part = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
  let total = 0;
  while (part.lastIndex < unsigned.length) {
    const found = part.exec(unsigned);
    if (!found) return undefined;
    total += Number(found[1]) * (NANOSECONDS[found[2] ?? ""] ?? 0);
  }
  return total < LONGEST ? Math.round(total) : undefined;
}
