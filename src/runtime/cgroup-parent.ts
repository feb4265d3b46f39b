import { errnoOf } from "../errors.js";
import type { CgroupPlace } from "./cgroup-places.js";

/** What is done to the files of a cgroup tree. Each throws as Node does. */
export interface CgroupFiles {
  read(path: string): string;
  write(path: string, text: string): void;
  makeDirectory(path: string): void;
  removeDirectory(path: string): void;
  /** The errno with which writing is refused; undefined when it is not. */
  writeRefusal(path: string): string | undefined;
  exists(path: string): boolean;
}

/** Why there is no cgroup: the file that refused, and its errno (or "absent"). */
export interface CgroupRefusal extends Error {
  readonly path: string;
  readonly errno: string;
}

export function cgroupRefusal(path: string, errno: string): CgroupRefusal {
  return Object.assign(new Error(`${path}: ${errno}`), { path, errno });
}

/**
 * The cgroup of the new hierarchy below which processes get their own, with these controllers switched on for them.
 * Whoever holds processes may not share controllers out to its children, so it is the nearest of our own cgroup and those
 * above it that may be written, holds none, and has the controllers or can get them. Where all above is somebody else's
 * (at the top of a container's own tree, in a service that systemd delegates to a user) the processes of the topmost that
 * is ours move down into one leaf, as podman and docker's own image do. Throws a `CgroupRefusal`.
 */
export function cgroupParent(
  { dir, top }: CgroupPlace,
  controllers: readonly string[],
  files: CgroupFiles,
): string {
  const refusals: CgroupRefusal[] = [];
  let full: string | undefined;
  for (const place of upwards(dir, top)) {
    const refusal = tryParent(place, controllers, files);
    if (refusal === undefined) return place;
    if (refusal.errno === "EBUSY") full = place;
    refusals.push(refusal);
  }
  if (full !== undefined) {
    const refusal = moveDown(full, files) ?? tryParent(full, controllers, files);
    if (refusal === undefined) return full;
    refusals.unshift(refusal);
  }
  // What stands in the way nearest to us is what can be changed, but for being full of processes.
  throw refusals.find(({ errno }) => errno !== "EBUSY") ?? refusals[0] ?? cgroupRefusal(dir, "ENOENT");
}

function upwards(dir: string, top: string): readonly string[] {
  const found = [dir];
  for (let at = dir; at !== top && at.startsWith(`${top}/`);) {
    at = at.slice(0, at.lastIndexOf("/"));
    found.push(at);
  }
  return found;
}

function tryParent(
  dir: string,
  controllers: readonly string[],
  files: CgroupFiles,
): CgroupRefusal | undefined {
  const [offered, enabled] = ["cgroup.controllers", "cgroup.subtree_control"].map((name) => `${dir}/${name}`);
  try {
    const missing = controllers.find((name) => !wordsOf(files, offered).includes(name));
    if (missing !== undefined) return cgroupRefusal(`${offered} without ${missing}`, "absent");
    // Moving a process needs this right where its way down parts from its old one.
    for (const path of [dir, `${dir}/cgroup.procs`]) {
      const errno = files.writeRefusal(path);
      if (errno !== undefined) return cgroupRefusal(path, errno);
    }
    const refusal = takesChildren(dir, files);
    if (refusal !== undefined) return refusal;
    switchOn(dir, controllers, files);
    return undefined;
  } catch (error) {
    return cgroupRefusal(enabled ?? "", errnoOf(error) ?? "failed");
  }
}

/**
 * Some controllers (cpu, pids) the kernel switches on beside processes, too: but then children are for threads only, and
 * no process may enter them. Only the true root of the hierarchy, which has no such file, is free of all that.
 */
function takesChildren(dir: string, files: CgroupFiles): CgroupRefusal | undefined {
  const typeFile = `${dir}/cgroup.type`;
  if (!files.exists(typeFile)) return undefined;
  const type = files.read(typeFile).trim();
  if (type !== "domain") return cgroupRefusal(`${typeFile}, which is "${type}"`, "ENOTSUP");
  return files.read(`${dir}/cgroup.procs`).trim() === "" ? undefined : cgroupRefusal(dir, "EBUSY");
}

/** For the children of a cgroup. Throws as `write` does. */
export function switchOn(dir: string, controllers: readonly string[], files: CgroupFiles): void {
  const path = `${dir}/cgroup.subtree_control`;
  const present = wordsOf(files, path);
  const wanted = controllers.filter((name) => !present.includes(name));
  if (wanted.length > 0) files.write(path, wanted.map((name) => `+${name}`).join(" "));
}

function wordsOf(files: CgroupFiles, path: string | undefined): readonly string[] {
  return files
    .read(path ?? "")
    .trim()
    .split(/\s+/);
}

/** The processes of a cgroup into a leaf below it; those that come meanwhile are moved, too. */
function moveDown(dir: string, files: CgroupFiles): CgroupRefusal | undefined {
  const leaf = `${dir}/init`;
  try {
    if (!files.exists(leaf)) files.makeDirectory(leaf);
    for (let round = 0; round < 5; round += 1) {
      const pids = files.read(`${dir}/cgroup.procs`).trim().split("\n");
      if (pids.join("") === "") return undefined;
      for (const pid of pids) moveTo(leaf, pid, files);
    }
    return undefined;
  } catch (error) {
    return cgroupRefusal(`${leaf}/cgroup.procs`, errnoOf(error) ?? "failed");
  }
}

function moveTo(dir: string, pid: string, files: CgroupFiles): void {
  try {
    files.write(`${dir}/cgroup.procs`, pid);
  } catch (error) {
    // It has ended since.
    if (errnoOf(error) !== "ESRCH") throw error;
  }
}
