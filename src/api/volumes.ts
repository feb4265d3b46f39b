import { chmodSync, chownSync, existsSync, mkdirSync, statSync } from "node:fs";
import { posix, resolve } from "node:path";
import { refuseRelabelling } from "../builder/index.js";
import type { OpenVolumes } from "../builder/index.js";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { removeTree } from "../fs/index.js";
import type { MountOption, SandboxMount } from "../runtime/index.js";
import { isSystemPlace } from "../runtime/index.js";

/** `SOURCE:TARGET[:OPTION,…]`: a path of this machine in a process. */
export interface Volume {
  /** Absolute; it exists. */
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** `O`: what is written is gone with the process. */
  readonly overlay: boolean;
  readonly options: readonly MountOption[];
}

/** Where mounts of a process end with it, these say nothing. `shared` would let it mount here, and is refused. */
const PROPAGATION = ["private", "rprivate", "slave", "rslave", "rbind", "bind"];
const MOUNT_OPTIONS: readonly MountOption[] = ["nosuid", "nodev", "noexec"];

/** Reads volumes. Throws `usage`, `unsupported`, `not-found`. */
export function parseVolumes(texts: readonly string[]): readonly Volume[] {
  return texts.map(parseVolume);
}

function parseVolume(text: string): Volume {
  const [source = "", target = "", options = "", ...rest] = text.split(":");
  if (source === "" || !target.startsWith("/") || rest.length > 0) {
    throw new CooperError(
      "usage",
      `invalid volume "${text}": must be SOURCE:TARGET or SOURCE:TARGET:ro, with an absolute target`,
    );
  }
  const words = options === "" ? [] : options.split(",");
  for (const word of words) checkOption(text, word);
  const path = resolve(source);
  if (!existsSync(path)) throw new CooperError("not-found", `volume source ${path} does not exist`);
  const overlay = words.includes("O");
  if (overlay && !statSync(path).isDirectory())
    throw new CooperError("usage", `volume "${text}": O is for directories, and ${path} is none`);
  if (isSystemPlace(target))
    throw new CooperError("usage", `volume "${text}": cannot mount on ${target}`, {
      hint: "the root, /proc, /sys and /dev are the sandbox's own",
    });
  return {
    source: path,
    target: posix.normalize(target),
    readOnly: words.findLast((word) => word === "ro" || word === "rw") === "ro",
    overlay,
    options: MOUNT_OPTIONS.filter((option) => words.includes(option)),
  };
}

function checkOption(text: string, word: string): void {
  if (["ro", "rw", "O", "exec", ...PROPAGATION, ...MOUNT_OPTIONS].includes(word)) return;
  if (word === "z" || word === "Z") {
    return refuseRelabelling(`volume "${text}"`, {
      hint: "relabel the directory with chcon -R -t container_file_t, and leave the option out",
    });
  }
  throw new CooperError("unsupported", `volume "${text}": the option "${word}" is not supported`, {
    hint: "it can be ro, rw, O (writes are discarded), z, Z, nosuid, nodev, noexec, private, slave",
  });
}

/** The mounts of one process. `scratchDir`: where what it writes to an overlay goes until it has ended. */
export async function openVolumes(
  volumes: readonly Volume[],
  scratchDir: () => string,
): Promise<OpenVolumes> {
  const made: string[] = [];
  const close = async (): Promise<void> => {
    for (const dir of made.splice(0)) await removeTree(dir);
  };
  try {
    const mounts = volumes.map((volume) => mountOf(volume, scratchDir, made));
    return await Promise.resolve({ mounts, [Symbol.asyncDispose]: close });
  } catch (error) {
    await close();
    throw error;
  }
}

let overlays = 0;

function mountOf(volume: Volume, scratchDir: () => string, made: string[]): SandboxMount {
  const { source, target, readOnly, options } = volume;
  if (!volume.overlay) return { type: "bind", source, target, readOnly, options, foreign: true };
  overlays += 1;
  const dir = `${scratchDir()}/volume-${overlays}`;
  made.push(dir);
  const { mode, uid, gid } = statSync(source);
  try {
    for (const name of ["", "/upper", "/work"]) mkdirSync(`${dir}${name}`, { mode: 0o700 });
    own(`${dir}/upper`, mode & 0o7777, uid, gid);
  } catch (error) {
    throw ioError("make", dir, error);
  }
  const rootfs = {
    kind: "overlay" as const,
    lowerDirs: [source],
    upperDir: `${dir}/upper`,
    workDir: `${dir}/work`,
  };
  return { type: "layers", rootfs, inside: "/", target, readOnly, options, foreign: true };
}

/** An overlay's root looks like its upper directory. */
function own(dir: string, mode: number, uid: number, gid: number): void {
  try {
    chownSync(dir, uid, gid);
  } catch (error) {
    // An owner without an id in this user namespace is nobody inside, too.
    if (errnoOf(error) !== "EINVAL") throw error;
  }
  chmodSync(dir, mode);
}
