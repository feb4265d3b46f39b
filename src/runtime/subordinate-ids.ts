import { readFileSync } from "node:fs";
import { userInfo } from "node:os";

export interface IdRange {
  readonly first: number;
  readonly count: number;
}

/** The ids that /etc/subuid or /etc/subgid gives this user, by name or by number, in the file's order. */
export function subordinateRanges(kind: "uid" | "gid"): readonly IdRange[] {
  const { username, uid } = whoAmI();
  return rangesOf(kind, [username, String(uid)]);
}

/** The ids that containers of root get by themselves: those of the user "containers", as with podman, else root's own. */
export function containerRanges(kind: "uid" | "gid"): readonly IdRange[] {
  const ranges = rangesOf(kind, ["containers"]);
  return ranges.length > 0 ? ranges : rangesOf(kind, ["root", "0"]);
}

function rangesOf(kind: "uid" | "gid", owners: readonly (string | undefined)[]): readonly IdRange[] {
  const ranges: IdRange[] = [];
  for (const line of linesOf(`/etc/sub${kind}`)) {
    const [owner, first, count] = line.split(":");
    if (owner === undefined || !owners.includes(owner)) continue;
    if (/^\d+$/.test(first ?? "") && Number(count) > 0)
      ranges.push({ first: Number(first), count: Number(count) });
  }
  return ranges;
}

/** A user need not have a name: CI platforms hand out ids that /etc/passwd does not know. */
function whoAmI(): { readonly username?: string; readonly uid: number } {
  try {
    return userInfo();
  } catch {
    return { uid: process.getuid?.() ?? 0 };
  }
}

function linesOf(file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch {
    return [];
  }
}
