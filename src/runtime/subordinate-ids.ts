import { readFileSync } from "node:fs";
import { userInfo } from "node:os";

export interface IdRange {
  readonly first: number;
  readonly count: number;
}

/** The ids that /etc/subuid or /etc/subgid gives this user, by name or by number, in the file's order. */
export function subordinateRanges(kind: "uid" | "gid"): readonly IdRange[] {
  const { username, uid } = whoAmI();
  return rangesOf(subordinateLines(kind), [username, String(uid)]);
}

/** Below it are the machine's own users, root first; a line may well name one, since LXD maps an ordinary user so. */
const FIRST_OF_NOBODY = 65536;
/** The last number is no id: to the kernel it means that there is none. */
const NO_ID = 2 ** 32 - 1;

/**
 * The ids that containers of root get by themselves, of the lines of /etc/subuid or /etc/subgid: those of the user
 * "containers", as with podman, else root's own; and of them those that no user of the machine has.
 */
export function containerRanges(lines: readonly string[]): readonly IdRange[] {
  const own = rangesOf(lines, ["containers"]);
  return (own.length > 0 ? own : rangesOf(lines, ["root", "0"])).flatMap(({ first, count }) => {
    const from = Math.max(first, FIRST_OF_NOBODY);
    const room = Math.min(first + count, NO_ID) - from;
    return room > 0 ? [{ first: from, count: room }] : [];
  });
}

function rangesOf(lines: readonly string[], owners: readonly (string | undefined)[]): readonly IdRange[] {
  return lines.flatMap((line) => {
    const [owner, first = "", count = ""] = line.trimEnd().split(":");
    const isRange = [first, count].every((number) => /^\d+$/.test(number)) && Number(count) > 0;
    return isRange && owners.includes(owner) ? [{ first: Number(first), count: Number(count) }] : [];
  });
}

/** A user need not have a name: CI platforms hand out ids that /etc/passwd does not know. */
function whoAmI(): { readonly username?: string; readonly uid: number } {
  try {
    return userInfo();
  } catch {
    return { uid: process.getuid?.() ?? 0 };
  }
}

/** The lines of /etc/subuid or /etc/subgid; none where there is no such file. */
export function subordinateLines(kind: "uid" | "gid"): readonly string[] {
  try {
    return readFileSync(`/etc/sub${kind}`, "utf8").split("\n");
  } catch {
    return [];
  }
}
