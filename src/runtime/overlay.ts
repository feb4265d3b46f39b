import { basename, dirname } from "node:path";
import type { IdMapping } from "./id-mapping.js";
import { doing } from "./refusal.js";
import {
  AT_FDCWD,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  attachMount,
  cString,
  cloneMount,
  close,
  errnoName,
  mapOwners,
  openAt,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";

const MS_NODEV = 4;

export interface Overlay {
  /** Topmost first; may be empty. */
  readonly lowerDirs: readonly string[];
  readonly upperDir: string;
  readonly workDir: string;
  /** Name of a directory to be made in the current one. */
  readonly place: string;
  /** True inside a user namespace, where uid 0 is a mapped one. */
  readonly userNamespace: boolean;
  /** Whom the overlay shows as the owner of what root owns in the directories, and so on; undefined: root. */
  readonly mapping: IdMapping | undefined;
}

/**
 * Mounts an overlay below the current directory, which must be in a file system that nobody else sees; returns where,
 * relative to it. mount(2) reads its options from one page, too small for many absolute paths: each directory gets a
 * short name. Works on every kernel, and 500 layers take 6 ms.
 */
export function mountOverlay(overlay: Overlay): string {
  const { lowerDirs, place, userNamespace, mapping } = overlay;
  syscall("mkdirat", place, AT_FDCWD, cString(place), 0o755);
  syscall("chdir", place, cString(place));
  try {
    // Capital letters are never in a number of base 36.
    const show = mapping === undefined ? link : mapped(mapping);
    const lowers = lowerDirs.map((dir, index) => show(dir, index.toString(36)));
    if (lowers.length === 0) lowers.push(make("E"));
    const { upper, work } = writable(overlay, show);
    const dirs = `lowerdir=${lowers.join(":")},upperdir=${upper},workdir=${work}`;
    mountOn(make("R"), dirs, userNamespace);
  } finally {
    syscall("chdir", "..", cString(".."));
  }
  return `${place}/R`;
}

type Show = (dir: string, name: string) => string;

/** The two must be seen to lie in the same mount. */
function writable(
  { upperDir, workDir }: Overlay,
  show: Show,
): { readonly upper: string; readonly work: string } {
  if (dirname(upperDir) !== dirname(workDir)) throw new Error(`${workDir} is not beside ${upperDir}`);
  const parent = show(dirname(upperDir), "U");
  return { upper: `${parent}/${basename(upperDir)}`, work: `${parent}/${basename(workDir)}` };
}

/** A directory under a short name, in a mount of its own that maps owners. */
function mapped({ fd }: IdMapping): Show {
  return (dir, name) =>
    doing("map the owners of the root file system", () => {
      const copy = cloneMount(AT_FDCWD, dir);
      mapOwners(copy, fd, dir);
      make(name);
      const target = openAt(AT_FDCWD, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
      attachMount(copy, target, name);
      close(target);
      close(copy);
      return name;
    });
}

function link(to: string, name: string): string {
  syscall("symlinkat", to, cString(to), AT_FDCWD, cString(name));
  return name;
}

function make(name: string): string {
  syscall("mkdirat", name, AT_FDCWD, cString(name), 0o755);
  return name;
}

function mountOn(target: string, dirs: string, userNamespace: boolean): void {
  const options = userNamespace
    ? "userxattr,index=off,metacopy=off"
    : "index=off,metacopy=off,redirect_dir=off";
  // Kernels before 6.6 do not know uuid=null, before 5.10 not volatile.
  const tries = [
    `${dirs},${options},volatile,uuid=null`,
    `${dirs},${options},volatile`,
    `${dirs},${options}`,
  ];
  for (const data of tries) {
    const overlay = cString("overlay");
    const result = trySyscall("mount", overlay, cString(target), overlay, MS_NODEV, cString(data));
    if (result === 0) return;
    if (result !== -22 /* EINVAL */ || data === tries.at(-1))
      throw syscallError(errnoName(-result), "mount", "overlay");
  }
}
