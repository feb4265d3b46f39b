import { accessSync, constants } from "node:fs";
import { CooperError } from "../../errors.js";
import { USUAL_IDS } from "../defaults.js";
import { HOST_PATH } from "../host-path.js";
import { tryMap } from "../rootless.js";
import type { IdMap } from "../rootless.js";
import type { SandboxOptions } from "../sandbox.js";
import { subordinateRanges } from "../subordinate-ids.js";
import { ownUserNamespace } from "../user-namespace.js";
import type { Check } from "./check.js";
import { PATIENCE_MS, refusedBy } from "./check.js";

const RANGES =
  "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME (the lines of /etc/subuid and /etc/subgid)";
const UIDMAP = "install the Debian package uidmap (shadow-utils elsewhere)";

/**
 * What is needed for images whose files have several owners. `who`: root that mounts by itself has all ids, root that needs
 * a user namespace has to take them along, and ordinary users have what they were given.
 */
export async function checkIds(who: "root" | "weak-root" | "user"): Promise<readonly Check[]> {
  if (who === "root")
    return [{ name: "ids", group: "ids", ok: true, found: "all that there are: this is root" }];
  if (who === "weak-root") return [await mapCheck("whole", "all of root's")];
  return [
    rangeCheck("uid"),
    rangeCheck("gid"),
    programCheck("newuidmap"),
    programCheck("newgidmap"),
    await mapCheck("auto", "unshare --map-auto"),
    await mapCheck("newuidmap", "by newuidmap"),
    await mapCheck("single", "own id alone"),
  ];
}

/** For `--userns=auto`, as root of this machine only. */
export async function checkOwnNamespace(options: SandboxOptions): Promise<readonly Check[]> {
  if (options.userNamespace) return [];
  const base = { name: "--userns=auto", group: "ids" } as const;
  try {
    await using tried = ownUserNamespace(USUAL_IDS);
    await tried.open(options);
    return [{ ...base, ok: true, found: `works, with ${USUAL_IDS} ids` }];
  } catch (error) {
    if (!(error instanceof CooperError)) throw error;
    const { message, hint } = error;
    return [
      {
        ...base,
        ok: false,
        ...refusedBy(message, "id range"),
        ...(hint === undefined ? {} : { advice: hint }),
      },
    ];
  }
}

function rangeCheck(kind: "uid" | "gid"): Check {
  const base = { name: `/etc/sub${kind}`, group: "ids" } as const;
  const ranges = subordinateRanges(kind).map(({ first, count }) => `${first}-${first + count - 1}`);
  if (ranges.length > 0) return { ...base, ok: true, found: ranges.join(" ") };
  return { ...base, ok: false, found: "no range for this user", advice: RANGES };
}

function programCheck(name: string): Check {
  const base = { name, group: "ids" } as const;
  const path = whereIs(name, HOST_PATH);
  if (path !== undefined) return { ...base, ok: true, found: path };
  return { ...base, ok: false, found: "not installed", advice: UIDMAP };
}

/** A program in the directories of a PATH. */
export function whereIs(name: string, path: string): string | undefined {
  return path
    .split(":")
    .filter((dir) => dir.startsWith("/"))
    .map((dir) => `${dir}/${name}`)
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

async function mapCheck(idMap: IdMap, name: string): Promise<Check> {
  const base = { name, group: "ids" } as const;
  const verdict = await tryMap(idMap, PATIENCE_MS);
  if (verdict.works) return { ...base, ok: true, found: "works" };
  const { message, hint } = verdict;
  const program = /\bnew[ug]idmap\b/.exec(message)?.[0] ?? "unshare";
  const advice = /no subordinate ids|failed to find|not allowed|no line matching|don't exist/i.test(message)
    ? RANGES
    : /newuidmap.*ENOENT|newuidmap.*No such file/i.test(message)
      ? UIDMAP
      : hint;
  return { ...base, ok: false, ...refusedBy(message, program), ...(advice === undefined ? {} : { advice }) };
}
