import type { ChildProcess, SpawnOptions } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { CooperError } from "../errors.js";
import { userNamespaceRefusal } from "./probe.js";
import { subordinateRanges } from "./subordinate-ids.js";
import type { IdRange } from "./subordinate-ids.js";
import type { Verdict, Verdicts } from "./verdicts.js";

/**
 * How ids get into cooper's own user namespace. `whole`: all of ours, written by ourselves (root that may do that);
 * `auto`: the subordinate ones, by `unshare --map-auto`; `newuidmap`: the same by calling newuidmap and newgidmap, where
 * unshare is older than util-linux 2.38; `single`: only the user's own.
 */
export type IdMap = "whole" | "auto" | "newuidmap" | "single";

/** How an engine of this user is started. */
export interface RootlessPlan {
  readonly idMap: IdMap;
  /** What the user loses and how to get it, when only one id can be mapped. */
  readonly warning: string | undefined;
  /** That it works was not tried now, but found out before. */
  readonly isRemembered: boolean;
}

const MAPS: readonly IdMap[] = ["whole", "auto", "newuidmap", "single"];
const PATIENCE_MS = 20_000;

/**
 * How to start an engine in a user namespace of its own, found by trying (10 to 20 ms each) and remembered. Throws
 * `sandbox` where there can be none. `trust`: believe a remembered "there can be none", too.
 */
export async function planRootless(
  verdicts: Verdicts,
  options: { readonly trust: boolean } = { trust: false },
): Promise<RootlessPlan> {
  const mapsWhole = process.geteuid?.() === 0;
  const wanted = MAPS.filter((idMap) => idMap !== "whole" || mapsWhole);
  const remembered = wanted.map((idMap) => verdicts.recall(`ids ${idMap}`));
  const isTrusted = options.trust || remembered.some((verdict) => verdict?.works);
  const refused = new Map<IdMap, Verdict & { readonly works: false }>();
  for (const [i, idMap] of wanted.entries()) {
    const known = isTrusted ? remembered[i] : undefined;
    const verdict = known ?? (await tryMap(idMap));
    if (!known) verdicts.remember(`ids ${idMap}`, verdict);
    if (verdict.works) {
      const warning = idMap === "single" ? whySingleId(refused) : undefined;
      return { idMap, warning, isRemembered: known !== undefined };
    }
    refused.set(idMap, verdict);
  }
  const last = refused.get("single");
  throw new CooperError(
    "sandbox",
    last?.message ?? "cannot make a user namespace",
    last?.hint === undefined ? {} : { hint: last.hint },
  );
}

/**
 * Starts `argv` as root of a user and mount namespace of its own. It dies with this process: `setpriv` comes after
 * `unshare`, because entering a user namespace clears the wish to die with a parent. A descriptor is added behind those
 * of `stdio` for as long as the ids are not mapped; `argv` does not get it.
 */
export function startRootless(
  idMap: IdMap,
  argv: readonly string[],
  options: Omit<SpawnOptions, "stdio"> & {
    readonly stdio: readonly ("inherit" | "ignore" | "pipe" | "ipc" | number)[];
  },
): ChildProcess {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const stdio = [...options.stdio];
  const mounts = ["--mount", "--", "setpriv", "--pdeathsig", "KILL", "--", ...argv];
  const user = ["--user", ...(idMap === "auto" ? ["--map-auto"] : []), "--map-root-user"];
  if (idMap === "auto" || idMap === "single")
    return spawn("unshare", [...user, ...mounts], { ...options, stdio });
  const gate = stdio.length;
  const wait = `echo >&${gate} && read -r go <&${gate} && exec "$@" ${gate}>&-`;
  const child = spawn("unshare", ["--user", "--", "sh", "-c", wait, "sh", "unshare", ...mounts], {
    ...options,
    stdio: [...stdio, "pipe"],
  });
  openGate(child, gate, idMap);
  return child;
}

/** The namespace is there when its shell writes a line, and the shell goes on when it gets one. */
function openGate(child: ChildProcess, gate: number, idMap: "whole" | "newuidmap"): void {
  const socket = child.stdio[gate] as import("node:net").Socket;
  socket.on("error", () => undefined);
  socket.once("data", () => {
    try {
      if (child.pid === undefined) return;
      if (idMap === "whole") mapWhole(child.pid);
      else mapSubordinate(child.pid);
      socket.write("\n");
    } catch (error) {
      child.stderr?.push(`${error instanceof Error ? error.message : String(error)}\n`);
      child.kill("SIGKILL");
    } finally {
      socket.end();
    }
  });
}

/** Every id of ours as itself, but the last one: so the namespace is seen not to be the machine's own. */
function mapWhole(pid: number): void {
  for (const kind of ["gid", "uid"] as const) {
    const lines = readFileSync(`/proc/self/${kind}_map`, "utf8").trim().split("\n");
    const map = lines.map((line) => {
      const [first = 0, , count = 0] = line.trim().split(/\s+/).map(Number);
      return `${first} ${first} ${first + count >= 2 ** 32 - 1 ? count - 1 : count}\n`;
    });
    writeFileSync(`/proc/${pid}/${kind}_map`, map.join(""));
  }
}

/** The user as root, and the subordinate ids from 1 on. */
function mapSubordinate(pid: number): void {
  const { execFileSync } = process.getBuiltinModule("node:child_process");
  for (const [kind, own] of [
    ["uid", process.geteuid?.() ?? 0],
    ["gid", process.getegid?.() ?? 0],
  ] as const) {
    let next = 1;
    const rows = [[0, own, 1]];
    for (const { first, count } of subordinateRanges(kind)) {
      rows.push([next, first, count]);
      next += count;
    }
    execFileSync(`new${kind}map`, [pid, ...rows.flat()].map(String), {
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
      timeout: PATIENCE_MS,
    });
  }
}

/** Starts a process with ids mapped in this way. */
export async function tryMap(idMap: IdMap, patienceMs = PATIENCE_MS): Promise<Verdict> {
  if (idMap === "newuidmap" && rangesMissing() !== undefined)
    return { works: false, message: `no subordinate ids in ${rangesMissing()}` };
  const child = startRootless(idMap, ["true"], { stdio: ["ignore", "ignore", "pipe"], timeout: patienceMs });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
  return new Promise((resolve) => {
    child.on("error", (error) => resolve(namespaceRefusal(error.message)));
    child.on("close", (code) => resolve(code === 0 ? { works: true } : namespaceRefusal(said)));
  });
}

/** Why there is no namespace, from what `unshare`, `newuidmap`, `setpriv` or Node said last. */
export function namespaceRefusal(said: string): Verdict & { readonly works: false } {
  const known = userNamespaceRefusal();
  if (known) {
    return {
      works: false,
      message: known.message,
      ...(known.hint === undefined ? {} : { hint: known.hint }),
    };
  }
  const line = said.trim().split("\n").at(-1) ?? "";
  return {
    works: false,
    message: `cannot make a user namespace: ${line === "" ? "unshare failed" : line}`,
    hint: "inside a container run cooper as root, or allow user namespaces there; `unshare --user --map-root-user true` shows whether they work",
  };
}

const CONSEQUENCE = "files can have no owner but root in builds (apt-get, USER and chown fail)";

/** Why not more than the user's own id can be mapped, and what to change. */
function whySingleId(refused: ReadonlyMap<IdMap, { readonly message: string }>): string {
  const missing = rangesMissing();
  if (missing !== undefined) {
    return `no subordinate ids for this user in ${missing}: ${CONSEQUENCE}; add them with usermod --add-subuids 100000-165535 --add-subgids 100000-165535`;
  }
  const reason = (refused.get("newuidmap")?.message ?? "").replace("cannot make a user namespace: ", "");
  const cause = /ENOENT/.test(reason)
    ? "newuidmap is not installed (package uidmap or shadow-utils)"
    : `the subordinate ids cannot be mapped: ${reason}`;
  return `${cause}: ${CONSEQUENCE}`;
}

function rangesMissing(): string | undefined {
  const has = (ranges: readonly IdRange[]): boolean => ranges.length > 0;
  if (!has(subordinateRanges("uid"))) return "/etc/subuid";
  return has(subordinateRanges("gid")) ? undefined : "/etc/subgid";
}
