import { chmodSync, closeSync, constants, fchmodSync, fchownSync, fstatSync, ftruncateSync } from "node:fs";
import { linkSync, lstatSync, mkdirSync, openSync, symlinkSync, writeSync } from "node:fs";
import { errnoOf } from "../errors.js";
import { fsPath } from "../fs/index.js";
import { poll } from "./copy.js";
import { copyAttributes, copyChildren, copyContent, moveChildren } from "./copy-tree.js";
import { CONTROL } from "./helper-plan.js";
import type { ChrootPlan, HelperMount } from "./helper-plan.js";
import { notesOf } from "./loans.js";
import type { Loans, Maker } from "./loans.js";
import type { NamedPipe } from "./named-pipe.js";
import { codeOf, doing } from "./refusal.js";
import { openInRoot } from "./root-walk.js";
import { AT_FDCWD, O_PATH, close, openAt, syscall, syscallError, trySyscall } from "./syscalls.js";
import { treeSyscalls } from "./tree-syscalls.js";

const NETWORK_FILES = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];
const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;
const LOCK_EXCLUSIVE_NOW = 2 | 4;
const EWOULDBLOCK = -11;
/** How often a cache that another step has is asked for, ms. */
const TRY_EVERY = 20;
/** As `/dev` has them everywhere: major and minor number. */
const DEVICES = {
  null: [1, 3],
  zero: [1, 5],
  full: [1, 7],
  random: [1, 8],
  urandom: [1, 9],
  tty: [5, 0],
} as const;
const LINKS = {
  fd: "/proc/self/fd",
  stdin: "/proc/self/fd/0",
  stdout: "/proc/self/fd/1",
  stderr: "/proc/self/fd/2",
  ptmx: "pts/ptmx",
} as const;

/** What a process writes to, each under a name that it is to find in /dev. */
export interface StreamPipes {
  readonly stdout: NamedPipe;
  readonly stderr: NamedPipe;
}

/** A plan's caches, which nobody else has until they are let go. */
export interface HeldCaches {
  letGo(): void;
}

type MountOf<T extends HelperMount["type"]> = Extract<HelperMount, { readonly type: T }>;

/** Puts into a root file system what other drivers mount there: the plan's mounts in their order, then /proc, /sys and /dev. */
export function lendFurniture(loans: Loans, plan: ChrootPlan, pipes: StreamPipes | undefined): void {
  const lent: LentCaches = new Map();
  for (const mount of plan.mounts) doing(`provide ${mount.target}`, () => lendMount(loans, mount, lent));
  // Nothing may be mounted on them: they are there, and empty.
  for (const name of ["proc", "sys"]) doing(`make /${name}`, () => loans.atTop(name, makeDirectory(0o555)));
  doing("make /dev", () => loans.atTop("dev", (path) => makeDev(path, plan, pipes)));
}

/** Where the content of each cache has gone. */
type LentCaches = Map<string, string>;

function lendMount(loans: Loans, mount: HelperMount, lent: LentCaches): void {
  try {
    switch (mount.type) {
      case "bind":
        return mount.movable === true ? lendCache(loans, mount, lent) : lendBind(loans, mount);
      case "tmpfs":
        return loans.at(mount.target, "directory", makeDirectory(mount.mode ?? 0o1777));
      case "secret":
        return loans.at(mount.target, "file", (path) => makeSecret(path, mount));
      case "layers":
        return lendCopy(loans, mount.target, openPart(rootOf(mount), mount.inside));
    }
  } catch (error) {
    // An image may point its resolv.conf at /dev/null and the like: then it is not ours to fill.
    if (!(NETWORK_FILES.includes(mount.target) && codeOf(error) === "EINVAL")) throw error;
  }
}

/** One layer is as good as a directory. */
function rootOf({ rootfs }: MountOf<"layers">): string {
  if (rootfs.kind === "directory") return rootfs.dir;
  const [only] = rootfs.lowerDirs;
  if (only === undefined || rootfs.lowerDirs.length > 1)
    throw new Error("several layers cannot be shown here");
  return only;
}

/** A second mount of the same one leads to the first. */
function lendCache(loans: Loans, mount: MountOf<"bind">, lent: LentCaches): void {
  const { source, inside = "/", target, readOnly } = mount;
  const key = JSON.stringify([source, inside]);
  const first = lent.get(key);
  if (first !== undefined) return loans.at(target, "directory", (path) => symlinkSync(first, fsPath(path)));
  lent.set(key, target);
  if (readOnly) lendCopy(loans, target, openPart(source, inside));
  else lendContent(loans, { source, inside, target });
}

function lendBind(loans: Loans, { source, inside = "/", target }: MountOf<"bind">): void {
  const fd = inside === "/" ? openAt(AT_FDCWD, source, O_PATH) : openPart(source, inside);
  if (!fstatSync(fd).isSocket()) return lendCopy(loans, target, fd);
  close(fd);
  // Whoever listens there answers under both names.
  loans.at(target, "file", (path) => linkSync(source, fsPath(path)));
}

/** Exactly what was found there is taken (hazards C01, C04, C05). */
function openPart(root: string, inside: string): number {
  const rootFd = openAt(AT_FDCWD, root, O_PATH);
  try {
    const found = openInRoot(rootFd, inside);
    if (found === undefined) throw syscallError("ENOENT", "openat", inside);
    return found.fd;
  } finally {
    close(rootFd);
  }
}

/** What the process writes to it is gone with it. */
function lendCopy(loans: Loans, target: string, fd: number): void {
  try {
    const stats = fstatSync(fd, { bigint: true });
    const source = `/proc/self/fd/${fd}`;
    if (stats.isDirectory()) {
      loans.at(target, "directory", (path) => {
        mkdirSync(fsPath(path), { mode: 0o700 });
        copyChildren(`${source}/.`, path);
        copyAttributes(`${source}/.`, path, stats);
      });
    } else {
      loans.at(target, "file", (path) => {
        copyContent(openSync(source, O_RDONLY), path);
        copyAttributes(source, path, stats);
      });
    }
  } finally {
    close(fd);
  }
}

/** The content of a directory goes to the target, and comes back with all that was done to it. */
function lendContent(loans: Loans, cache: Pick<LentCache, "source" | "inside" | "target">): void {
  const fd = openPart(cache.source, cache.inside);
  const source = `/proc/self/fd/${fd}/.`;
  loans.at(cache.target, "directory", (path) => {
    mkdirSync(fsPath(path), { mode: 0o700 });
    const lent: LentCache = { ...cache, inode: String(lstatSync(fsPath(path), { bigint: true }).ino) };
    loans.note(JSON.stringify(lent));
    copyAttributes(source, path, fstatSync(fd, { bigint: true }));
    moveChildren(source, path);
    const place = openSync(fsPath(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    return () => {
      const here = `/proc/self/fd/${place}/.`;
      moveChildren(here, source);
      copyAttributes(here, source, fstatSync(place, { bigint: true }));
      closeSync(place);
      close(fd);
    };
  });
}

/** A cache whose content lies in a root file system, in the directory of this inode number. */
interface LentCache {
  readonly source: string;
  readonly inside: string;
  readonly target: string;
  readonly inode: string;
}

/**
 * Puts back the content of the caches that a helper which was killed had lent to a root file system, as far as it still
 * lies where it was put. Whoever has had the cache meanwhile keeps what he made there.
 */
export function rescueCaches(dir: string): void {
  for (const note of notesOf(dir)) rescueCache(dir, JSON.parse(note) as LentCache);
}

function rescueCache(dir: string, { source, inside, target, inode }: LentCache): void {
  const rootFd = openAt(AT_FDCWD, dir, O_PATH);
  const found = openInRoot(rootFd, target);
  close(rootFd);
  if (found === undefined) return;
  const stats = fstatSync(found.fd, { bigint: true });
  if (String(stats.ino) !== inode) return close(found.fd);
  const lock = locked(source);
  const fd = openPart(source, inside);
  const [here, there] = [found.fd, fd].map((each) => `/proc/self/fd/${each}/.`);
  moveChildren(here ?? "", there ?? "");
  for (const each of [found.fd, fd, lock]) close(each);
}

/** Its bytes are overwritten when it is taken away, wherever the process has put it meanwhile. */
function makeSecret(path: string, { base64, mode, uid, gid }: MountOf<"secret">): () => void {
  const bytes = Buffer.from(base64, "base64");
  const fd = openSync(fsPath(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  const write = (content: Uint8Array): void => {
    for (let at = 0; at < content.length;) at += writeSync(fd, content, at, content.length - at, at);
  };
  write(bytes);
  doing(`give a secret to ${uid}:${gid}`, () => fchownSync(fd, uid, gid));
  fchmodSync(fd, mode);
  return () => {
    write(new Uint8Array(Math.max(bytes.length, fstatSync(fd).size)));
    ftruncateSync(fd, 0);
    closeSync(fd);
  };
}

function makeDirectory(mode: number): Maker {
  return (path) => {
    mkdirSync(fsPath(path), { mode: 0o700 });
    chmodSync(fsPath(path), mode);
  };
}

function makeDev(path: string, { stdin }: ChrootPlan, pipes: StreamPipes | undefined): void {
  makeDirectory(0o755)(path);
  const calls = treeSyscalls();
  for (const [name, [major, minor]] of Object.entries(DEVICES)) {
    try {
      calls.makeNode(`${path}/${name}`, "char", 0o666, { major, minor });
    } catch (error) {
      // In a user namespace devices cannot be made. What is written to such a "null" goes with the step, at least.
      if (errnoOf(error) !== "EPERM") throw error;
      if (name === "null") {
        closeSync(openSync(fsPath(`${path}/null`), O_WRONLY | O_CREAT | O_EXCL, 0o666));
        chmodSync(fsPath(`${path}/null`), 0o666);
      }
    }
  }
  // There is no /proc that these could lead to.
  if (stdin === "null") symlinkSync("null", fsPath(`${path}/stdin`));
  for (const [name, pipe] of Object.entries(pipes ?? {})) linkIfPossible(pipe.path, `${path}/${name}`);
  for (const [name, target] of Object.entries(LINKS)) {
    if (lstatSync(fsPath(`${path}/${name}`), { throwIfNoEntry: false }) === undefined)
      symlinkSync(target, fsPath(`${path}/${name}`));
  }
  makeDirectory(0o755)(`${path}/pts`);
  makeDirectory(0o1777)(`${path}/shm`);
}

function linkIfPossible(from: string, to: string): void {
  try {
    linkSync(fsPath(from), fsPath(to));
  } catch (error) {
    if (errnoOf(error) !== "EXDEV") throw error;
  }
}

/**
 * Waits until no other step has one of the plan's caches; all of them in one order, so that no two steps wait for each
 * other. Throws when the driver wants something else meanwhile.
 */
export function holdCaches(mounts: readonly HelperMount[]): HeldCaches {
  const sources = mounts.flatMap((mount) =>
    mount.type === "bind" && mount.movable === true ? [mount.source] : [],
  );
  const held: number[] = [];
  const letGo = (): void => {
    for (const fd of held.splice(0)) close(fd);
  };
  try {
    for (const source of [...new Set(sources)].toSorted()) held.push(locked(source));
  } catch (error) {
    letGo();
    throw error;
  }
  return { letGo };
}

function locked(dir: string): number {
  const fd = openSync(dir, O_RDONLY | O_DIRECTORY);
  for (;;) {
    const result = trySyscall("flock", fd, LOCK_EXCLUSIVE_NOW);
    if (result === 0) return fd;
    if (result !== EWOULDBLOCK) syscall("flock", dir, fd, LOCK_EXCLUSIVE_NOW);
    if (poll([CONTROL], TRY_EVERY)[0] === true) {
      close(fd);
      throw new Error("stopped while waiting for a cache");
    }
  }
}
