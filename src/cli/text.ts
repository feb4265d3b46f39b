/**
 * Characters that could move the cursor, hide text or fake a line when they come from a label, a name or a message:
 * C0, DEL, C1, line and paragraph separators, and the marks that turn the writing direction around.
 */
// oxlint-disable-next-line no-control-regex -- control characters are what this finds
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text on one line that a terminal only shows: everything that would steer it is written as an escape (`\x1b`, `\u202e`). */
export function oneLine(text: string): string {
  return text.replace(UNSAFE, (c) => {
    if (c === "\n") return "\\n";
    if (c === "\t") return "\\t";
    const code = c.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
  });
}

/** As `oneLine` for text whose line breaks are ours (source excerpts, stacks). */
export function manyLines(text: string): string {
  return text.split("\n").map(oneLine).join("\n");
}

/** JSON that is safe on a terminal; JSON.stringify itself leaves DEL, C1 and the direction marks as they are. */
export function terminalJson(value: unknown, indent?: string): string {
  return JSON.stringify(value, undefined, indent).replace(UNSAFE, (c) =>
    c === "\n" ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** Bytes with SI units and three significant digits, as podman writes them: `1.09 kB`, `214 MB`. */
export function byteSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 would be rounded to 1000, so it already belongs to the next unit.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${UNITS[unit]}`;
}

/** How long ago `ms` milliseconds are, in podman's words: `About an hour ago`, `3 weeks ago`. */
export function timeAgo(ms: number): string {
  return `${roughly(ms)} ago`;
}

function roughly(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  const minutes = Math.trunc(ms / 60_000);
  const hours = Math.round(ms / 3_600_000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  const days = Math.trunc(hours / 24);
  if (days < 14) return `${days} days`;
  if (days < 60) return `${Math.trunc(days / 7)} weeks`;
  if (days < 730) return `${Math.trunc(days / 30)} months`;
  return `${Math.trunc(Math.trunc(ms / 3_600_000) / 24 / 365)} years`;
}

/** Milliseconds as `0.3s`, `12.0s`, `2m05s`. */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
}

/** The hex digits of a digest, or of an id that has no algorithm in front. */
export function hexDigits(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** The first twelve hex digits, as tables and step lines show an id. */
export function shortId(digest: string): string {
  return hexDigits(digest).slice(0, 12);
}
