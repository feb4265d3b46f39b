import { chmodSync, lstatSync, readdirSync, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { CooperError, ioError } from "../errors.js";
import { ATOMIC_TEMP_PREFIX, atomicWrite, makeDirectories } from "../fs/index.js";
import { parseJsonDocument } from "../image/index.js";
import { loadBallast } from "./ballast.js";
import { readSmall } from "./paths.js";
import type { StorePaths } from "./paths.js";

/** Version of the layout on disk. A store of a newer one is refused; there is no older one. */
export const STORE_VERSION = 1;

/**
 * Overlayfs keeps its marks in trusted.* xattrs for root and in user.* inside a user namespace, so layer trees made in
 * one flavour mean something else in the other.
 */
export type Flavour = "root" | "rootless";

// Backup programs leave directories with it out. Source: https://bford.info/cachedir/
const CACHEDIR_TAG = `Signature: 8a477f597d28d172789f06886806bc55
# Images and build cache of cooper. See https://bford.info/cachedir/
`;

/** Makes what a store consists of where it is missing, and checks that it is one of ours. Throws `store-version`, `usage`, `io`, `no-space`. */
export function openFormat(paths: StorePaths, flavour: Flavour): void {
  try {
    const isNew = ensureRoot(paths);
    if (isNew) create(paths, flavour);
    else checkFormat(paths, flavour);
    for (const dir of directories(paths)) {
      if (!statSync(dir, { throwIfNoEntry: false })) makeDirectories(dir, 0o700);
    }
    if (isNew) loadBallast(paths);
  } catch (error) {
    throw ioError("open the store", paths.root, error);
  }
}

function directories({ blobs, layers, images, refs, cache, tmp, locks }: StorePaths): readonly string[] {
  return [blobs, layers, images, refs, cache, tmp, locks];
}

/** True when there is no store in it yet. */
function ensureRoot({ root, format }: StorePaths): boolean {
  const stat = statSync(root, { throwIfNoEntry: false }) ?? makeRoot(root);
  if (!stat.isDirectory()) throw new CooperError("usage", `the store ${root} is not a directory`);
  const me = process.geteuid?.() ?? stat.uid;
  if (stat.uid !== me) throw wrongOwner(root, stat.uid);
  // Files of images may be setuid, and secrets: nobody else may pass (CVE-2021-41091).
  if ((stat.mode & 0o077) !== 0 && isOurs(root)) chmodSync(root, 0o700);
  if (lstatSync(format, { throwIfNoEntry: false })) return false;
  if (!isOurs(root)) {
    throw new CooperError("usage", `${root} is not a store of cooper and not empty`, {
      hint: "name another directory with --root",
    });
  }
  return true;
}

function makeRoot(root: string): Stats {
  makeDirectories(root, 0o700);
  return statSync(root);
}

/** True when a directory holds nothing that somebody else put there; a store that was being made may lack its format file. */
function isOurs(root: string): boolean {
  const ours = ["blobs", "layers", "images", "refs", "cache", "tmp", "locks", "CACHEDIR.TAG", "format.json"];
  const names = readdirSync(root);
  return (
    names.includes("format.json") ||
    names.every((name) => ours.includes(name) || name.startsWith(ATOMIC_TEMP_PREFIX) || name === "lost+found")
  );
}

function create(paths: StorePaths, flavour: Flavour): void {
  atomicWrite(join(paths.root, "CACHEDIR.TAG"), CACHEDIR_TAG, { mode: 0o600 });
  atomicWrite(paths.format, JSON.stringify({ version: STORE_VERSION, flavour }), {
    durable: true,
    mode: 0o600,
  });
}

function checkFormat({ root, format }: StorePaths, flavour: Flavour): void {
  const what = `the store ${root}`;
  const bytes = readSmall(format, what);
  const { version, flavour: stored } = bytes ? parseJsonDocument(bytes, `${what}: format.json`) : {};
  if (typeof version !== "number" || (stored !== "root" && stored !== "rootless")) {
    throw new CooperError("corrupt", `${what}: format.json is damaged`, {
      hint: `its content should be ${JSON.stringify({ version: STORE_VERSION, flavour })}`,
    });
  }
  if (version !== STORE_VERSION) {
    throw new CooperError(
      "store-version",
      `${what} has format ${version}, this cooper knows format ${STORE_VERSION}`,
      {
        hint: "use the cooper that wrote it, or another store with --root",
      },
    );
  }
  if (stored === flavour) return;
  throw new CooperError(
    "store-version",
    `${what} was written by cooper running as ${describe(stored)}; this one runs as ${describe(flavour)}`,
    {
      hint: "layers are marked in another way there: run cooper with the rights it was run with before, or use another store with --root",
    },
  );
}

/** Of a store that belongs to this process's own user. */
function describe(flavour: Flavour): string {
  if (process.geteuid?.() !== 0) return flavour === "root" ? "root" : "an ordinary user";
  return flavour === "root"
    ? "root with the right to mount (CAP_SYS_ADMIN)"
    : "root without the right to mount (CAP_SYS_ADMIN), or in a user namespace";
}

function wrongOwner(root: string, uid: number): CooperError {
  const who = uid === 0 ? "root" : `user ${uid}`;
  return new CooperError("store-version", `the store ${root} belongs to ${who}`, {
    hint: "run cooper as that user, or use another store with --root",
  });
}
