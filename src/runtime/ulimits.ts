import { readFileSync } from "node:fs";
import { CooperError } from "../errors.js";
import type { Ulimit } from "./types.js";

/** The resources of setrlimit(2) in the order of their numbers, which is the order of /proc/self/limits, too. */
const RESOURCES =
  "cpu fsize data stack core rss nproc nofile memlock as locks sigpending msgqueue nice rtprio rttime".split(
    " ",
  );

/** "No limit", in a Ulimit. */
export const UNLIMITED = -1;

/** The number of a resource. Names are checked at the door. */
export function resourceNumber(name: string): number {
  return RESOURCES.indexOf(name);
}

/** The limits of this process, one for each resource. */
export function ownUlimits(): readonly Ulimit[] {
  const [, ...lines] = readFileSync("/proc/self/limits", "utf8").trim().split("\n");
  return RESOURCES.map((name, number) => {
    const [, soft = "0", hard = "0"] = (lines[number] ?? "").split(/\s{2,}/);
    return { name, soft: limitOf(soft), hard: limitOf(hard) };
  });
}

function limitOf(text: string): number {
  return text === "unlimited" ? UNLIMITED : Number(text);
}

/**
 * What a process gets of the limits that were asked for; "host" is all of cooper's own. Throws `usage` for what is no
 * limit, `sandbox` for a hard limit above cooper's own, which only its owner may raise.
 */
export function checkedUlimits(asked: readonly (Ulimit | "host")[]): readonly Ulimit[] {
  if (asked.length === 0) return [];
  const own = ownUlimits();
  const found = new Map<string, Ulimit>();
  for (const each of asked) {
    for (const limit of each === "host" ? own : [each]) found.set(limit.name, limit);
    if (each !== "host") check(each, own);
  }
  return [...found.values()];
}

function check({ name, soft, hard }: Ulimit, own: readonly Ulimit[]): void {
  const mine = own.find((limit) => limit.name === name);
  if (mine === undefined) {
    throw new CooperError("usage", `unknown limit "${name}"`, { hint: `it can be ${RESOURCES.join(", ")}` });
  }
  for (const value of [soft, hard]) {
    if (!Number.isSafeInteger(value) || value < UNLIMITED)
      throw new CooperError("usage", `the limit ${name} cannot be ${value}`);
  }
  if (exceeds(soft, hard)) {
    throw new CooperError("usage", `the limit ${name}: soft ${told(soft)} is above hard ${told(hard)}`);
  }
  if (exceeds(hard, mine.hard)) {
    throw new CooperError(
      "sandbox",
      `the limit ${name}=${told(hard)} cannot be had: cooper's own hard limit is ${told(mine.hard)}`,
      { hint: "raise it where cooper is started (ulimit -H, LimitNOFILE= and the like of a systemd unit)" },
    );
  }
}

function exceeds(value: number, limit: number): boolean {
  return limit !== UNLIMITED && (value === UNLIMITED || value > limit);
}

function told(value: number): string {
  return value === UNLIMITED ? "unlimited" : String(value);
}

/** A limit of this process, soft and hard no more than `value`. */
export function lowered(name: string, value: number): Ulimit {
  const hard = ownUlimits()[resourceNumber(name)]?.hard ?? UNLIMITED;
  const lower = exceeds(value, hard) ? hard : value;
  return { name, soft: lower, hard: lower };
}
