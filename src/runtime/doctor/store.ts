import { accessSync, constants, existsSync, readFileSync, realpathSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../../errors.js";
import type { Check } from "./check.js";

/** Why a store could not be opened. */
export interface StoreRefusal {
  readonly message: string;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** Where the store is or will be, what carries it, and whether it can be written. */
export function checkStore(root: string, refusal: StoreRefusal | undefined): readonly Check[] {
  const group = "store";
  const place = realpathSync(nearest(root));
  const { bavail, bsize } = statfsSync(place);
  const free = bavail * bsize;
  return [
    pathCheck(root, place, refusal),
    { name: "file system", group, ok: true, found: fileSystemOf(place) },
    {
      name: "free space",
      group,
      ok: free >= 1e9,
      found: `${(free / 1e9).toFixed(1)} GB`,
      ...(free >= 1e9
        ? {}
        : { advice: "free some space, or choose another store with --root or COOPER_ROOT" }),
    },
  ];
}

function pathCheck(root: string, place: string, refusal: StoreRefusal | undefined): Check {
  const base = { name: "path", group: "store" } as const;
  const advice = "choose another store with --root or COOPER_ROOT";
  if (refusal !== undefined) {
    const { syscall: call } = (refusal.cause ?? {}) as NodeJS.ErrnoException;
    const errno = errnoOf(refusal.cause);
    return {
      ...base,
      ok: false,
      found: refusal.message,
      ...(call === undefined ? {} : { call }),
      ...(errno === undefined ? {} : { errno }),
      advice: refusal.hint ?? advice,
    };
  }
  try {
    accessSync(place, constants.W_OK);
    return { ...base, ok: true, found: place === root || existsSync(root) ? root : `${root} (not made yet)` };
  } catch (error) {
    const errno = errnoOf(error) ?? "failed";
    return {
      ...base,
      ok: false,
      found: `${root}: cannot be written (${errno})`,
      call: "access",
      errno,
      advice,
    };
  }
}

/** The directory itself, or the one above it that is there. */
function nearest(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearest(dirname(path));
}

/** The type of the mount that lies over a path: the last one of those that are longest. */
function fileSystemOf(path: string): string {
  let found = { length: -1, type: "unknown" };
  for (const line of mountLines()) {
    const [before = "", after = ""] = line.split(" - ");
    const at = (before.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    const isAbove = at === "/" || path === at || path.startsWith(`${at}/`);
    if (isAbove && at.length >= found.length) found = { length: at.length, type: after.split(" ")[0] ?? "" };
  }
  return found.type;
}

function mountLines(): readonly string[] {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
}
