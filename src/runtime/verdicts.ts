import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { CooperError } from "../errors.js";
import { atomicWrite } from "../fs/index.js";
import type { Rights } from "./rights.js";

/** What came of really trying something: it works, or why not and what to change. */
export type Verdict =
  { readonly works: true } | { readonly works: false; readonly message: string; readonly hint?: string };

/** What was found out by trying, kept for all who have the same rights until the machine starts anew. */
export interface Verdicts {
  recall(name: string): Verdict | undefined;
  remember(name: string, verdict: Verdict): void;
  /** Forgets everything: what was remembered turned out to be wrong. */
  forget(): void;
}

/** More than this many files are not kept; each job of a CI server has rights of its own. */
const MAX_FILES = 32;
const FORMAT = 1;

/**
 * Verdicts in a directory of the store, one file for each kind of rights and `version` of cooper. A file that is damaged,
 * or of others, counts as none; that it cannot be written costs a trial each time and nothing else. Without a directory
 * they are kept for as long as this is.
 */
export function openVerdicts(dir: string | undefined, rights: Rights, version: string): Verdicts {
  return dir === undefined ? passingVerdicts() : keptVerdicts(dir, rights, version);
}

function passingVerdicts(): Verdicts {
  const known = new Map<string, Verdict>();
  return {
    recall: (name) => known.get(name),
    remember: (name, verdict) => void known.set(name, verdict),
    forget: () => known.clear(),
  };
}

function keptVerdicts(dir: string, rights: Rights, version: string): Verdicts {
  const key = JSON.stringify([FORMAT, version, rights]);
  const path = join(dir, `${createHash("sha256").update(key).digest("hex").slice(0, 32)}.json`);
  let known: Map<string, Verdict> | undefined;
  let isStale = false;
  const read = (): Map<string, Verdict> => (known ??= readVerdicts(path, key));
  return {
    recall: (name) => read().get(name),
    remember: (name, verdict) => {
      // Read again: another process may have found something else out meanwhile.
      known = (isStale ? read() : readVerdicts(path, key)).set(name, verdict);
      write(dir, path, JSON.stringify({ key, verdicts: Object.fromEntries(known) }));
    },
    forget: () => {
      known = new Map();
      try {
        rmSync(path, { force: true });
      } catch {
        // In a store that cannot be written it stays, and is not read again.
        isStale = true;
      }
    },
  };
}

export function verdictOf(refusal: CooperError | undefined): Verdict {
  if (refusal === undefined) return { works: true };
  const { message, hint } = refusal;
  return { works: false, message, ...(hint === undefined ? {} : { hint }) };
}

function readVerdicts(path: string, key: string): Map<string, Verdict> {
  const verdicts = new Map<string, Verdict>();
  try {
    const stored: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (!isRecord(stored) || stored["key"] !== key || !isRecord(stored["verdicts"])) return verdicts;
    for (const [name, verdict] of Object.entries(stored["verdicts"]))
      if (isVerdict(verdict)) verdicts.set(name, verdict);
  } catch {
    // Not there, or damaged: everything is tried.
  }
  return verdicts;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isVerdict(value: unknown): value is Verdict {
  if (!isRecord(value)) return false;
  const { works, message, hint } = value;
  if (works === true) return true;
  return works === false && typeof message === "string" && (hint === undefined || typeof hint === "string");
}

function write(dir: string, path: string, text: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    atomicWrite(path, text, { mode: 0o600 });
    const files = readdirSync(dir).map((name) => join(dir, name));
    const byAge = files.map((file) => [statSync(file).mtimeMs, file] as const).toSorted(([a], [b]) => b - a);
    for (const [, file] of byAge.slice(MAX_FILES)) rmSync(file, { force: true });
  } catch {
    // A store that cannot be written, or somebody else removed a file at the same time.
  }
}
