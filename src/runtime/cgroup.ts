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
import { cgroupParent, cgroupRefusal } from "./cgroup-parent.js";
import type { CgroupFiles, CgroupRefusal } from "./cgroup-parent.js";
import { cgroupPlaces } from "./cgroup-places.js";
import type { CgroupPlaces } from "./cgroup-places.js";
import { settingsFor } from "./cgroup-settings.js";
import type { Setting } from "./cgroup-settings.js";
import type { SandboxDevice, SandboxLimits } from "./types.js";

/** The cgroup of one process: a directory in each hierarchy that it needs. */
export interface ProcessCgroup {
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
  isWritable: (path) => {
    try {
      accessSync(path, constants.W_OK);
      return true;
    } catch {
      return false;
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
  const make = (settings: readonly Setting[]): readonly string[] => {
    places ??= cgroupPlaces(REAL.read("/proc/self/mountinfo"), REAL.read("/proc/self/cgroup"));
    made += 1;
    const dirs = new Set<string>();
    try {
      for (const { parent, settings: own } of parentsOf(places, settings)) {
        keeper ??= startKeeper(prefix);
        if (!watched.has(parent)) keeper.watch(parent);
        watched.add(parent);
        const dir = `${parent}/${prefix}${made}`;
        makeOne(dir, own, dirs);
      }
      return [...dirs];
    } catch (error) {
      for (const dir of dirs) REAL.removeDirectory(dir);
      throw error;
    }
  };
  return {
    make: (limits, devices) => {
      const settings = settingsFor(limits, devices);
      try {
        return processCgroup(make(settings), undefined);
      } catch (error) {
        const asked = settings.filter((setting) => setting.asked);
        const [first] = asked;
        if (first === undefined) return processCgroup([], reasonOf(error as CgroupRefusal));
        if (asked.length === settings.length) throw explained(first, error as CgroupRefusal, userNamespace);
        return withAsked(asked, () => make(asked), error as CgroupRefusal, userNamespace);
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
  make: () => readonly string[],
  before: CgroupRefusal,
  userNamespace: boolean,
): ProcessCgroup {
  try {
    return processCgroup(make(), reasonOf(before));
  } catch (error) {
    const refusal = error as CgroupRefusal;
    const setting = asked.find(({ controller }) => refusal.message.includes(controller)) ?? asked[0];
    throw setting === undefined ? error : explained(setting, refusal, userNamespace);
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

function makeOne(dir: string, settings: readonly Setting[], dirs: Set<string>): void {
  attempt(dir, () => REAL.makeDirectory(dir));
  dirs.add(dir);
  for (const setting of settings) {
    for (const { file, value, mayLack } of setting.version === 2 ? setting.v2 : setting.v1) {
      const path = `${dir}/${file}`;
      if (mayLack && !REAL.exists(path)) continue;
      attempt(path, () => REAL.write(path, value));
    }
  }
}

function attempt(path: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw cgroupRefusal(path, errnoOf(error) ?? "failed");
  }
}

function processCgroup(dirs: readonly string[], withoutPids: string | undefined): ProcessCgroup {
  return {
    entries: dirs.map((dir) => `${dir}/cgroup.procs`),
    withoutPids,
    ranOutOfMemory: () =>
      dirs
        .flatMap((dir) => [`${dir}/memory.events`, `${dir}/memory.oom_control`])
        .filter((path) => REAL.exists(path))
        .some((path) => /^oom_kill [1-9]/m.test(REAL.read(path))),
    remove: async () => {
      for (const dir of dirs) await removeWhenEmpty(dir);
    },
  };
}

/** Empty as soon as the kernel has buried the last of them; what is left after a second the keeper removes. */
async function removeWhenEmpty(dir: string): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    try {
      return REAL.removeDirectory(dir);
    } catch (error) {
      if (errnoOf(error) !== "EBUSY") return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function reasonOf({ path, errno }: CgroupRefusal): string {
  const reasons: Readonly<Record<string, string>> = {
    absent: "not there",
    EACCES: "permission denied (EACCES)",
    EPERM: "operation not permitted (EPERM)",
    EROFS: "read-only file system (EROFS)",
    EBUSY: "in use (EBUSY)",
  };
  return `${path}: ${reasons[errno] ?? errno}`;
}

function explained(setting: Setting, refusal: CgroupRefusal, userNamespace: boolean): CooperError {
  const { controller } = setting;
  return new CooperError("sandbox", `cannot ${setting.told}: ${reasonOf(refusal)}`, {
    hint:
      controller === "devices"
        ? "only root on a machine with cgroup v1 can; give the device without permissions, or with rwm"
        : userNamespace
          ? "a user may do it below a cgroup that systemd delegates: systemd-run --user --scope -p Delegate=yes cooper …; or build as root"
          : "cooper must be able to write its own cgroup: inside a container start that with --privileged",
  });
}
