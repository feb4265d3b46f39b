import { quoted, tarError } from "./tar-header.js";

/** Records of an extended header by keyword; values are bytes (latin1). Source: POSIX.1-2017, "pax Extended Header". */
export type PaxRecords = ReadonlyMap<string, string>;

const SPACE = 0x20;
const NEWLINE = 0x0a;
const NS = 1_000_000_000n;
const TIME = /^(-?)(\d{1,18})(?:\.(\d*))?$/;

/** Reads "length keyword=value\n" records. Throws `corrupt` when a length or separator is wrong. */
export function parsePax(body: Buffer, what: string): PaxRecords {
  const records = new Map<string, string>();
  let at = 0;
  while (at < body.length) {
    const space = body.indexOf(SPACE, at);
    const digits = space < 0 || space - at > 10 ? "" : body.toString("latin1", at, space);
    const length = /^[1-9]\d*$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = body.indexOf(0x3d, space);
    if (
      length === 0 ||
      end > body.length ||
      body[end - 1] !== NEWLINE ||
      equals <= space + 1 ||
      equals >= end
    ) {
      throw tarError(what, "malformed extended header");
    }
    records.set(body.toString("latin1", space + 1, equals), body.toString("latin1", equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** One record; its length counts its own digits. */
export function paxRecord(keyword: string, value: string): string {
  const rest = keyword.length + value.length + 3;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return `${length} ${keyword}=${value}\n`;
}

/** A time as seconds with as many decimals as it needs. Negative times count back from 1970. */
export function formatPaxTime(ns: bigint): string {
  const abs = ns < 0n ? -ns : ns;
  const fraction = (abs % NS).toString().padStart(9, "0").replace(/0+$/, "");
  return `${ns < 0n ? "-" : ""}${abs / NS}${fraction === "" ? "" : `.${fraction}`}`;
}

/** Nanoseconds since 1970; digits beyond the ninth are cut off. Throws `corrupt`. */
export function parsePaxTime(value: string, name: string, what: string): bigint {
  const [, sign, seconds, fraction = ""] = TIME.exec(value) ?? [];
  if (seconds === undefined) throw tarError(what, `entry ${quoted(name)} has a time that is no number`);
  const abs = BigInt(seconds) * NS + BigInt(fraction.slice(0, 9).padEnd(9, "0"));
  return sign === "-" ? -abs : abs;
}

/** A decimal keyword value that must be a whole number from 0 to `max`. Throws `corrupt`. */
export function parsePaxNumber(value: string, max: number, label: string, what: string): number {
  const parsed = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!(parsed <= max)) throw tarError(what, `extended header has a ${label} out of range: ${quoted(value)}`);
  return parsed;
}
