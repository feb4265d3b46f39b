import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { openCgroups } from "../cgroup.js";
import { DEFAULT_LIMITS } from "../defaults.js";
import type { SandboxLimits } from "../types.js";
import { CGROUP_ROOT_ADVICE, CGROUP_USER_ADVICE } from "./advice.js";
import type { Check } from "./check.js";
import { refusedBy } from "./check.js";

const WITHOUT: SandboxLimits = { ...DEFAULT_LIMITS, pids: { limit: 0, asked: false } };
const TRIES: readonly (readonly [name: string, limits: SandboxLimits])[] = [
  ["memory", { ...WITHOUT, memoryBytes: 256 * 1024 * 1024 }],
  ["cpu", { ...WITHOUT, cpus: 1 }],
  ["pids", { ...WITHOUT, pids: { limit: 64, asked: true } }],
];

/** Which hierarchies are mounted, and a cgroup with each limit, made as for a RUN and removed. */
export async function checkCgroups(isRoot: boolean): Promise<readonly Check[]> {
  await using cgroups = openCgroups(!isRoot);
  const checks = [layoutCheck()];
  for (const [name, limits] of TRIES) {
    const base = { name, group: "cgroups" } as const;
    try {
      const cgroup = cgroups.make(limits, []);
      const [dir = ""] = cgroup.dirs;
      await cgroup.remove();
      checks.push({ ...base, ok: true, found: `below ${dirname(dir)}` });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      checks.push({
        ...base,
        ok: false,
        ...refusedBy(message, "write"),
        advice: isRoot ? CGROUP_ROOT_ADVICE : CGROUP_USER_ADVICE,
      });
    }
  }
  return checks;
}

function layoutCheck(): Check {
  const base = { name: "layout", group: "cgroups" } as const;
  const types = mountTypes();
  const [old, unified] = [types.has("cgroup"), types.has("cgroup2")];
  const layout = old && unified ? "hybrid (v1 and v2)" : old ? "v1" : unified ? "v2" : undefined;
  if (layout !== undefined) return { ...base, ok: true, found: layout };
  return { ...base, ok: false, found: "no hierarchy is mounted", advice: CGROUP_ROOT_ADVICE };
}

function mountTypes(): ReadonlySet<string> {
  try {
    const lines = readFileSync("/proc/self/mountinfo", "latin1").split("\n");
    return new Set(lines.map((line) => line.split(" - ")[1]?.split(" ")[0] ?? ""));
  } catch {
    return new Set();
  }
}
