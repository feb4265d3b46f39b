import { readFileSync } from "node:fs";
import { userInfo } from "node:os";

/** How an ordinary user starts the engine. */
export interface RootlessCommand {
  readonly command: readonly string[];
  /** What the user loses and how to get it, when only one id can be mapped. */
  readonly warning?: string;
}

/**
 * The command that runs `argv` as root of a user namespace of its own, where it may mount. It dies with the process that
 * starts it: `setpriv` comes after `unshare`, because entering a user namespace clears the wish to die with a parent.
 * With subordinate ids all of an image's owners exist in there; without, only one does, and `warning` says so.
 */
export function rootlessCommand(argv: readonly string[]): RootlessCommand {
  const lifeline = ["setpriv", "--pdeathsig", "KILL", "--", ...argv];
  const problem = whySingleId();
  const map = problem === undefined ? ["--map-auto", "--map-root-user"] : ["--map-root-user"];
  const command = ["unshare", "--user", ...map, "--mount", "--", ...lifeline];
  return problem === undefined ? { command } : { command, warning: problem };
}

/** Why not more than the user's own id can be mapped; undefined when it can. */
function whySingleId(): string | undefined {
  const consequence = "files can have no owner but root in builds (apt-get, USER and chown fail)";
  for (const file of ["/etc/subuid", "/etc/subgid"]) {
    if (!hasRange(file)) {
      return `no subordinate ids for this user in ${file}: ${consequence}; add them with usermod --add-subuids 100000-165535 --add-subgids 100000-165535`;
    }
  }
  if (!canRun("newuidmap"))
    return `newuidmap is not installed (package uidmap or shadow-utils): ${consequence}`;
  if (!canRun("unshare", "--map-auto")) return `unshare is older than util-linux 2.38: ${consequence}`;
  return undefined;
}

/** A user need not have a name: CI platforms hand out ids that /etc/passwd does not know. */
function whoAmI(): { readonly username?: string; readonly uid: number } {
  try {
    return userInfo();
  } catch {
    return { uid: process.getuid?.() ?? 0 };
  }
}

function hasRange(file: string): boolean {
  const { username, uid } = whoAmI();
  try {
    const owners = readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.split(":"));
    return owners.some(
      ([owner, , count]) => (owner === username || owner === String(uid)) && Number(count) > 0,
    );
  } catch {
    return false;
  }
}

/** Whether a program exists, and its help names an option. */
function canRun(program: string, option = ""): boolean {
  try {
    const { execFileSync } = process.getBuiltinModule("node:child_process");
    return execFileSync(program, ["--help"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    }).includes(option);
  } catch (error) {
    // newuidmap ends with an error after its usage line; only a missing program counts.
    return option === "" && (error as NodeJS.ErrnoException).code !== "ENOENT";
  }
}
