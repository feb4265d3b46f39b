import { errnoOf } from "../errors.js";
import { cgroupRefusal, switchOn } from "./cgroup-parent.js";
import type { CgroupFiles } from "./cgroup-parent.js";
import type { Setting } from "./cgroup-settings.js";

/** A cgroup of ours in one hierarchy. */
export interface MadeCgroup {
  /** The one with the limits. */
  readonly dir: string;
  /** The one with the processes: `dir` or below it. */
  readonly leaf: string;
}

/**
 * Makes a cgroup with these limits. In the new hierarchy processes go into a leaf of it: systemd switches controllers off
 * again that none of its own units needs (at each reload, at the start of any unit), and limits go with them unheard. The
 * kernel refuses that as long as a child shares the controller out. Throws a `CgroupRefusal`, and leaves nothing then.
 */
export function makeCgroup(dir: string, settings: readonly Setting[], files: CgroupFiles): MadeCgroup {
  const unified = settings.some(({ version }) => version === 2);
  const leaf = unified ? `${dir}/leaf` : dir;
  attempt(dir, () => files.makeDirectory(dir));
  try {
    for (const setting of settings) writeSetting(dir, setting, files);
    if (unified) {
      const controllers = [...new Set(settings.map(({ controller }) => controller))];
      attempt(`${dir}/cgroup.subtree_control`, () => switchOn(dir, controllers, files));
      attempt(leaf, () => files.makeDirectory(leaf));
    }
  } catch (error) {
    files.removeDirectory(dir);
    throw error;
  }
  return { dir, leaf };
}

function writeSetting(dir: string, setting: Setting, files: CgroupFiles): void {
  for (const { file, value, mayLack } of setting.version === 2 ? setting.v2 : setting.v1) {
    const path = `${dir}/${file}`;
    if (mayLack && !files.exists(path)) continue;
    attempt(path, () => files.write(path, value));
  }
}

function attempt(path: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw cgroupRefusal(path, errnoOf(error) ?? "failed");
  }
}

/**
 * Empty as soon as the kernel has buried the last of its processes; after a second it is left to the keeper.
 */
export async function removeCgroup({ dir, leaf }: MadeCgroup, files: CgroupFiles): Promise<void> {
  for (const each of new Set([leaf, dir])) await removeWhenEmpty(each, files);
}

async function removeWhenEmpty(dir: string, files: CgroupFiles): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    try {
      return files.removeDirectory(dir);
    } catch (error) {
      if (errnoOf(error) !== "EBUSY") return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
