import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../errors.js";
import { cleanPath, fsPath, parentOf, textOf } from "../fs/index.js";
import type { BytePath } from "../fs/index.js";

/** More than the kernel's 500 lower directories do not mount. */
const MAX_LOWERS = 500;

/** A place that a mount needs. */
export interface MountPlace {
  /** Absolute path inside the root file system. */
  readonly target: string;
  readonly kind: "directory" | "file";
}

/** Lower directories that hold nothing but places to mount on, so that none is ever made in a step's upper directory. */
export interface StubLayers {
  /**
   * The image's directories between two of ours. On top /dev, /proc and /sys: whatever the image has there, a link
   * perhaps, those are directories (their content is covered by mounts). At the bottom the other places: what the image
   * has comes first, and when it has deleted them, the helper makes and removes them.
   */
  around(lowerDirs: readonly string[], places: readonly MountPlace[]): readonly string[];
}

/** Makes its directories below `dir`, which exists and is removed by its owner. */
export function stubLayers(dir: string): StubLayers {
  const top = join(dir, "top");
  mkdirSync(top);
  for (const name of ["dev", "proc", "sys"]) mkdirSync(join(top, name));
  const bottoms = new Map<string, string>();
  const bottomFor = (places: readonly MountPlace[]): string => {
    const key = JSON.stringify(places);
    const known = bottoms.get(key);
    if (known !== undefined) return known;
    const made = join(dir, `bottom-${bottoms.size}`);
    mkdirSync(made);
    for (const place of places) makePlace(made, place);
    bottoms.set(key, made);
    return made;
  };
  return {
    around: (lowerDirs, places) => {
      const room = MAX_LOWERS - lowerDirs.length;
      if (room < 1) return lowerDirs;
      return room < 2 ? [top, ...lowerDirs] : [top, ...lowerDirs, bottomFor(places)];
    },
  };
}

function makePlace(root: string, place: MountPlace): void {
  const path = cleanPath(place.target);
  try {
    makeDirectories(root, place.kind === "directory" ? path : parentOf(path));
    if (place.kind === "file") writeFileSync(fsPath(`${root}/${path}`), "", { mode: 0o644, flag: "wx" });
  } catch (error) {
    // One mount's place may be below another's: then it must be found there, and the helper sees to it.
    if (!["EEXIST", "ENOTDIR"].includes(errnoOf(error) ?? "")) throw error;
  }
}

/** A step may write beside a mount, and then these become part of its layer: modes must not depend on our umask. */
function makeDirectories(root: string, path: BytePath): void {
  if (path === "") return;
  makeDirectories(root, parentOf(path));
  const dir = fsPath(`${root}/${path}`);
  try {
    mkdirSync(dir);
    chmodSync(dir, 0o755);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}

/** Refuses what must not be mounted on: the root, and the kernel's own directories and anything in them (hazard C10). */
export function isSystemPlace(target: string): boolean {
  const [first = ""] = textOf(cleanPath(target)).split("/");
  return ["", "proc", "sys", "dev"].includes(first);
}
