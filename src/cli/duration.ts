import { usage } from "./args.js";

const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `10s`, `1h30m`, `1.5m`, `500ms`, or a number of seconds, in whole ms. Throws `usage`, naming the flag. */
export function parseMilliseconds(flag: string, text: string): number {
  const ms = millisecondsOf(/^\d+(?:\.\d+)?$/.test(text) ? `${text}s` : text);
  if (ms !== undefined && ms <= 2 ** 31 - 1) return ms;
  const reason =
    ms === undefined ? "is not a duration such as 10s, 5m or 1h30m" : "is too long: at most 24 days";
  throw usage(`${flag}: "${text}" ${reason}`);
}

function millisecondsOf(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, number, unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    total += Number(number) * (MS[unit] ?? 0);
  // Less than a millisecond must not become "for ever".
  return total > 0 ? Math.max(1, Math.round(total)) : 0;
}
