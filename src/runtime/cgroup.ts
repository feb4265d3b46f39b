import { randomBytes } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { CooperError, errnoOf } from "../errors.js";
import { startKeeper } from "./cgroup-keeper.js";
import type { CgroupKeeper } from "./cgroup-keeper.js";
import { makeCgroup, removeCgroup } from "./cgroup-make.js";
import type { MadeCgroup } from "./cgroup-make.js";
import { cgroupParent, cgroupRefusal } from "./cgroup-parent.js";
import type { CgroupFiles, CgroupRefusal } from "./cgroup-parent.js";
import { cgroupPlaces } from "./cgroup-places.js";
import type { CgroupPlaces } from "./cgroup-places.js";
import { settingsFor } from "./cgroup-settings.js";
import type { Setting } from "./cgroup-settings.js";
import type { SandboxDevice, SandboxLimits } from "./types.js";

/** The cgroup of one process: a directory in each hierarchy that it needs. */
export interface ProcessCgroup {
  readonly dirs: readonly string[];
  /** Files that the process writes "0" to. */
  readonly entries: readonly string[];
  /** Why it has no limit of processes although the defaults say one; undefined when it has. */
  readonly withoutPids: string | undefined;
  /** Whether something of it was ended because its memory was full. */
  ranOutOfMemory(): boolean;
  /** Its processes must have ended. */
  remove(): Promise<void>;
}

export interface Cgroups extends AsyncDisposable {
  /** Makes the cgroup of one process. Throws `sandbox` for a limit that was asked for and cannot be had. */
  make(limits: SandboxLimits, narrow: readonly SandboxDevice[]): ProcessCgroup;
}

const REAL: CgroupFiles = {
  read: (path) => readFileSync(path, "utf8"),
  write: (path, text) => writeFileSync(path, text),
  makeDirectory: (path) => mkdirSync(path, 0o755),
  removeDirectory: (path) => rmdirSync(path),
  exists: existsSync,
  writeRefusal: (path) => {
    try {
      accessSync(path, constants.W_OK);
      return undefined;
    } catch (error) {
      return errnoOf(error) ?? "EACCES";
    }
  },
};

/** Nothing is read or made before the first cgroup. `userNamespace`: for what messages advise. */
export function openCgroups(userNamespace: boolean): Cgroups {
  const prefix = `cooper-${process.pid}-${randomBytes(4).toString("hex")}-`;
  let places: CgroupPlaces | undefined;
  let keeper: CgroupKeeper | undefined;
  const watched = new Set<string>();
  let made = 0;
  const make = (settings: readonly Setting[]): readonly MadeCgroup[] => {
    places ??= cgroupPlaces(REAL.read("/proc/self/mountinfo"), REAL.read("/proc/self/cgroup"));
    made += 1;
    const groups: MadeCgroup[] = [];
    try {
      for (const { parent, settings: own } of parentsOf(places, settings)) {
        keeper ??= startKeeper(prefix);
        if (!watched.has(parent)) keeper.watch(parent);
        watched.add(parent);
        groups.push(makeCgroup(`${parent}/${prefix}${made}`, own, REAL));
      }
      return groups;
    } catch (error) {
      for (const { dir, leaf } of groups) for (const each of new Set([leaf, dir])) REAL.removeDirectory(each);
      throw error;
    }
  };
  return {
    make: (limits, devices) => {
      const settings = settingsFor(limits, devices);
      try {
        return processCgroup(make(settings), undefined);
      } catch (error) {
        const refusal = error as CgroupRefusal;
        const asked = settings.filter((setting) => setting.asked);
        if (asked.length === 0) return processCgroup([], reasonOf(refusal));
        if (asked.length === settings.length) throw explained(asked, refusal, userNamespace);
        return withAsked(asked, () => make(asked), refusal, userNamespace);
      }
    },
    [Symbol.asyncDispose]: async () => {
      await keeper?.stop();
      keeper = undefined;
    },
  };
}

/**
 * Makes the cgroup that a process would have, for what was asked only, and removes it. `devices`: those with less than all
 * permissions. Throws what `make` does.
 */
export async function checkLimits(
  limits: SandboxLimits,
  devices: readonly SandboxDevice[],
  userNamespace: boolean,
): Promise<void> {
  await using cgroups = openCgroups(userNamespace);
  const pids = limits.pids.asked ? limits.pids : { limit: 0, asked: false };
  await cgroups.make({ ...limits, pids }, devices).remove();
}

/** Once more without the default limit: what was asked for may be to be had alone. */
function withAsked(
  asked: readonly Setting[],
  make: () => readonly MadeCgroup[],
  before: CgroupRefusal,
  userNamespace: boolean,
): ProcessCgroup {
  try {
    return processCgroup(make(), reasonOf(before));
  } catch (error) {
    throw explained(asked, error as CgroupRefusal, userNamespace);
  }
}

/** Settings by the directory below which their cgroup is made. */
function parentsOf(
  places: CgroupPlaces,
  settings: readonly Setting[],
): readonly { readonly parent: string; readonly settings: readonly Setting[] }[] {
  const old = settings.filter(({ controller }) => places.v1.has(controller));
  const others = settings.filter((setting) => !old.includes(setting));
  const groups = new Map<string, Setting[]>();
  for (const setting of old) {
    const dir = places.v1.get(setting.controller)?.dir ?? "";
    groups.set(dir, [...(groups.get(dir) ?? []), setting]);
  }
  const found = [...groups].map(([parent, own]) => ({
    parent,
    settings: own.map((one) => ({ ...one, version: 1 as const })),
  }));
  if (others.length === 0) return found;
  const onlyOld = others.find((setting) => setting.v2.length === 0);
  if (onlyOld) throw cgroupRefusal(`the controller ${onlyOld.controller} of cgroup v1`, "absent");
  if (places.v2 === undefined)
    throw cgroupRefusal(`a hierarchy with the controller ${others[0]?.controller}`, "absent");
  const parent = cgroupParent(places.v2, [...new Set(others.map(({ controller }) => controller))], REAL);
  return [...found, { parent, settings: others.map((one) => ({ ...one, version: 2 as const })) }];
}

function processCgroup(groups: readonly MadeCgroup[], withoutPids: string | undefined): ProcessCgroup {
  const dirs = groups.map(({ dir }) => dir);
  return {
    dirs,
    entries: groups.map(({ leaf }) => `${leaf}/cgroup.procs`),
    withoutPids,
    ranOutOfMemory: () =>
      dirs
        .flatMap((dir) => [`${dir}/memory.events`, `${dir}/memory.oom_control`])
        .filter((path) => REAL.exists(path))
        .some((path) => /^oom_kill [1-9]/m.test(REAL.read(path))),
    remove: async () => {
      for (const group of groups) await removeCgroup(group, REAL);
    },
  };
}

function reasonOf({ path, errno }: CgroupRefusal): string {
  const reasons: Readonly<Record<string, string>> = {
    absent: "not there",
    EACCES: "permission denied (EACCES)",
    EPERM: "operation not permitted (EPERM)",
    EROFS: "read-only file system (EROFS)",
    EBUSY: "in use (EBUSY)",
    ENOTSUP: "no place for processes (ENOTSUP)",
  };
  return `${path}: ${reasons[errno] ?? errno}`;
}

/** What was asked for and is refused: that whose controller the refusal names, if it names one. */
export function explained(
  asked: readonly Setting[],
  refusal: CgroupRefusal,
  userNamespace: boolean,
): CooperError {
  const named = asked.find(({ controller }) => refusal.message.includes(controller));
  const { controller, told } = named ?? asked[0] ?? { controller: "", told: "make a cgroup" };
  return new CooperError("sandbox", `cannot ${told}: ${reasonOf(refusal)}`, {
    hint:
      controller === "devices"
        ? "only root on a machine with cgroup v1 can; give the device without permissions, or with rwm"
        : userNamespace
          ? "a user may do it below a cgroup that systemd delegates: systemd-run --user --scope -p Delegate=yes cooper …; or build as root"
          : "cooper must be able to write its own cgroup: inside a container start that with --privileged",
  });
}
