import { errnoOf } from "../errors.js";
import type { CgroupPlace } from "./cgroup-places.js";

/** What is done to the files of a cgroup tree. Each throws as Node does. */
export interface CgroupFiles {
  read(path: string): string;
  write(path: string, text: string): void;
  makeDirectory(path: string): void;
  removeDirectory(path: string): void;
  isWritable(path: string): boolean;
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
 * Whoever holds processes may not switch controllers on for its children, so it is the nearest of our own cgroup and
 * those above it that may be written and does or can. At the top of a container's own tree there is nothing above: there
 * all processes move down into one leaf, as podman and docker's own image do. Throws a `CgroupRefusal`.
 */
export function cgroupParent(
  { dir, top }: CgroupPlace,
  controllers: readonly string[],
  files: CgroupFiles,
): string {
  let refused: CgroupRefusal | undefined;
  for (const place of upwards(dir, top)) {
    const refusal = tryParent(place, controllers, files);
    if (refusal === undefined) return place;
    // What stands in the way nearest to us is what can be changed, but for being full of processes.
    if (refused === undefined || refused.errno === "EBUSY")
      refused = refusal.errno === "EBUSY" ? (refused ?? refusal) : refusal;
  }
  if (refused?.errno === "EBUSY" && dir === top && files.exists(`${top}/cgroup.type`)) {
    moveDown(top, files);
    refused = tryParent(top, controllers, files);
    if (refused === undefined) return top;
  }
  throw refused ?? cgroupRefusal(dir, "ENOENT");
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
    for (const path of [dir, `${dir}/cgroup.procs`])
      if (!files.isWritable(path)) return cgroupRefusal(path, "EACCES");
    const present = wordsOf(files, enabled);
    const wanted = controllers.filter((name) => !present.includes(name));
    if (wanted.length > 0) files.write(enabled ?? "", wanted.map((name) => `+${name}`).join(" "));
    return undefined;
  } catch (error) {
    return cgroupRefusal(enabled ?? "", errnoOf(error) ?? "failed");
  }
}

function wordsOf(files: CgroupFiles, path: string | undefined): readonly string[] {
  return files
    .read(path ?? "")
    .trim()
    .split(/\s+/);
}

/** The processes of a cgroup into a leaf below it; those that come meanwhile are moved, too. */
function moveDown(dir: string, files: CgroupFiles): void {
  const leaf = `${dir}/init`;
  if (!files.exists(leaf)) files.makeDirectory(leaf);
  for (let round = 0; round < 5; round += 1) {
    const pids = files.read(`${dir}/cgroup.procs`).trim().split("\n");
    if (pids.join("") === "") return;
    for (const pid of pids) {
      try {
        files.write(`${leaf}/cgroup.procs`, pid);
      } catch (error) {
        // It has ended since.
        if (errnoOf(error) !== "ESRCH") throw error;
      }
    }
  }
}
