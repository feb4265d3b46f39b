import type { HelperPlan } from "./helper-plan.js";
import { MASKED, READ_ONLY } from "./rootfs.js";

/** What the plan does not say: where the helper has put things, and what it found out. */
export interface SpecPlaces {
  readonly rootDir: string;
  /** A complete /dev, to be bound there: then a runtime makes no devices or links of its own. */
  readonly devDir: string;
  /** The working directory, without links. */
  readonly cwd: string;
  /** The command as a runtime finds it; other arguments are the plan's. */
  readonly command: string;
  readonly openFiles: { readonly soft: number; readonly hard: number };
  /** False in a user namespace that may not change groups at all. */
  readonly mayChangeGroups: boolean;
}

/**
 * A plan as the config.json of an OCI runtime. Only what has to happen at the very end is left to the runtime: /proc, the
 * hidden files, the identity, the filter. The rest exists already: the root file system with the step's mounts and /sys,
 * and namespaces ipc, cgroup and net, which a process inherits when the specification does not name them.
 */
export function runtimeSpec(plan: HelperPlan, places: SpecPlaces): string {
  const { security } = plan;
  const guarded = security.kernelFiles === "guarded";
  const seccomp = plan.runtime?.seccomp ?? "";
  const kept = plan.uid === 0 ? security.capabilities : [];
  return jsonOf({
    ociVersion: "1.0.2",
    root: { path: places.rootDir, readonly: false },
    hostname: plan.hostname,
    process: {
      terminal: plan.stdio === "tty",
      ...(plan.stdio === "tty"
        ? { consoleSize: { height: plan.terminal.rows, width: plan.terminal.columns } }
        : {}),
      user: {
        uid: plan.uid,
        gid: plan.gid,
        umask: 0o022,
        additionalGids: places.mayChangeGroups ? plan.groups : [],
      },
      args: [places.command, ...plan.argv.slice(1)],
      env: plan.env,
      cwd: places.cwd,
      capabilities: {
        bounding: security.capabilities,
        effective: kept,
        permitted: kept,
        inheritable: [],
        ambient: [],
      },
      rlimits: rlimitsOf(plan, places),
      noNewPrivileges: security.noNewPrivileges,
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "nodev", "noexec"] },
      { destination: "/dev", type: "bind", source: places.devDir, options: ["rbind", "nosuid", "noexec"] },
    ],
    linux: {
      namespaces: [{ type: "pid" }, { type: "mount" }, { type: "uts" }],
      maskedPaths: guarded ? MASKED.map((path) => `/${path}`) : [],
      readonlyPaths: guarded ? READ_ONLY.map((path) => `/${path}`) : [],
      ...(seccomp === "" ? {} : { seccomp: new Json(seccomp) }),
    },
  });
}

/** All of them here, since one that was inherited would bind the runtime, too. */
function rlimitsOf(plan: HelperPlan, places: SpecPlaces): readonly object[] {
  const limits = new Map(
    [{ name: "nofile", ...places.openFiles }, ...plan.ulimits].map((limit) => [limit.name, limit]),
  );
  const value = (limit: number): Json => new Json(String(BigInt.asUintN(64, BigInt(limit))));
  return [...limits.values()].map(({ name, soft, hard }) => ({
    type: `RLIMIT_${name.toUpperCase()}`,
    soft: value(soft),
    hard: value(hard),
  }));
}

/** A part that is JSON already: a number beyond those of JavaScript, for instance. */
class Json {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

function jsonOf(value: unknown): string {
  if (value instanceof Json) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${jsonOf(member)}`);
  return `{${members.join(",")}}`;
}
