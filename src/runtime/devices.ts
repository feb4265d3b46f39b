import { fstatSync } from "node:fs";
import type { HelperDevice, HelperPlan } from "./helper-plan.js";
import { codeOf, doing } from "./refusal.js";
import { openInRoot } from "./root-walk.js";
import {
  AT_FDCWD,
  MOUNT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  attachMount,
  changeMount,
  cString,
  cloneMount,
  close,
  newMount,
  openAt,
  restrictMount,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";

const NODES: Readonly<Record<string, readonly [major: number, minor: number]>> = {
  null: [1, 3],
  zero: [1, 5],
  full: [1, 7],
  random: [1, 8],
  urandom: [1, 9],
  tty: [5, 0],
};

/**
 * A device of the host (one of those that every /dev has) as a detached mount, after a look whether it is that device.
 * Read-only: it can be written all the same, and its mode and owner cannot. The caller closes it.
 */
export function hostDevice(name: string): number {
  const [major = 0, minor = 0] = NODES[name] ?? [];
  const fd = openAt(AT_FDCWD, `/dev/${name}`, O_PATH | O_NOFOLLOW);
  const stat = fstatSync(fd);
  if (!stat.isCharacterDevice() || stat.rdev !== major * 256 + minor)
    throw syscallError("ENODEV", "openat", `/dev/${name}`);
  const copy = cloneMount(fd, "");
  restrictMount(copy, MOUNT.readOnly);
  close(fd);
  return copy;
}

/** A node of the step's own, whose mode it may change as in other tools. False where cooper may not make any. */
function makeNode(devFd: number, name: string): boolean {
  const [major = 0, minor = 0] = NODES[name] ?? [];
  const umask = process.umask(0);
  const result = trySyscall("mknodat", devFd, cString(name), 0o020666, major * 256 + minor);
  process.umask(umask);
  return result === 0;
}

/** Fills the new, empty /dev of a step; `terminal` is the devpts of a terminal opened for it. */
export function fillDev(rootFd: number, plan: HelperPlan, terminal: number | undefined): void {
  const devFd = openAt(rootFd, "dev", O_PATH | O_DIRECTORY | O_NOFOLLOW);
  const still = MOUNT.noSuid | MOUNT.noExec;
  for (const name of Object.keys(NODES)) {
    if (plan.userNamespace || !makeNode(devFd, name)) attachNew(devFd, name, "file", hostDevice(name));
  }
  attachNew(devFd, "pts", "directory", terminal ?? newDevpts(plan));
  attachNew(
    devFd,
    "shm",
    "directory",
    newMount("tmpfs", { mode: "1777", size: String(plan.shmBytes) }, still | MOUNT.noDev),
  );
  attachQueues(devFd, still | MOUNT.noDev);
  const links = {
    fd: "/proc/self/fd",
    stdin: "/proc/self/fd/0",
    stdout: "/proc/self/fd/1",
    stderr: "/proc/self/fd/2",
    ptmx: "pts/ptmx",
  };
  for (const [name, target] of Object.entries(links)) {
    syscall("symlinkat", `/dev/${name}`, cString(target), devFd, cString(name));
  }
  for (const device of plan.devices) {
    if (device.target.startsWith("/dev/")) attachDevice(devFd, device);
  }
  close(devFd);
}

/** After everything else in /dev: links that lead out of it end in it. */
function attachDevice(devFd: number, device: HelperDevice): void {
  doing(`show the device ${device.target}`, () => {
    const source = givenDevice(device);
    const place = { kind: "file", before: () => undefined } as const;
    const target = openInRoot(devFd, device.target.slice("/dev/".length), place);
    if (target === undefined) throw syscallError("ENOENT", "openat", device.target);
    attachMount(source, target.fd, device.target);
    close(target.fd);
    close(source);
  });
}

/**
 * The host's own node as a detached mount, after a look whether it still is the device that was meant. It can be opened,
 * even when it lies in a file system of which that is not true; read-only, so that its mode and owner stay the host's.
 * The caller closes it.
 */
export function givenDevice({ source, kind, number }: HelperDevice): number {
  const fd = openAt(AT_FDCWD, source, O_PATH | O_NOFOLLOW);
  try {
    const stat = fstatSync(fd);
    const isSame = kind === "block" ? stat.isBlockDevice() : stat.isCharacterDevice();
    if (!isSame || stat.rdev !== number) throw syscallError("ENODEV", "openat", source);
    const copy = cloneMount(fd, "");
    changeMount(copy, MOUNT.readOnly | MOUNT.noSuid | MOUNT.noExec, MOUNT.noDev);
    return copy;
  } finally {
    close(fd);
  }
}

/** Kernels may be built without message queues. */
function attachQueues(devFd: number, attributes: number): void {
  try {
    attachNew(devFd, "mqueue", "directory", newMount("mqueue", {}, attributes));
  } catch (error) {
    if (codeOf(error) !== "ENODEV") throw error;
  }
}

/** Group 5 is "tty" everywhere, but a user namespace may not map it. */
const TTY = 5;

/**
 * A private devpts as a detached mount. Where it takes no such owner, a terminal belongs to whoever opens it: a user
 * namespace may not map the group, and Linux 6.1 knows no id above 2^31 - 1 here.
 */
export function newDevpts({
  userNamespace,
  idMapping,
}: Pick<HelperPlan, "userNamespace" | "idMapping">): number {
  const owner = idMapping === null ? {} : { uid: String(idMapping.uid) };
  const options = { ptmxmode: "0666", mode: "0620" };
  const attributes = MOUNT.noSuid | MOUNT.noExec;
  try {
    return newMount("devpts", { ...options, ...owner, gid: String(ttyGroup(idMapping)) }, attributes);
  } catch (error) {
    if (!userNamespace && idMapping === null) throw error;
    return newMount("devpts", options, attributes);
  }
}

/** The group of terminals, as the machine sees it. */
export function ttyGroup(idMapping: HelperPlan["idMapping"]): number {
  return idMapping === null ? TTY : idMapping.gid + (idMapping.size > TTY ? TTY : 0);
}

function attachNew(dirFd: number, name: string, kind: "file" | "directory", source: number): void {
  if (kind === "file") syscall("mknodat", name, dirFd, cString(name), 0o100644, 0);
  else syscall("mkdirat", name, dirFd, cString(name), 0o755);
  const target = openAt(dirFd, name, O_PATH | O_NOFOLLOW);
  attachMount(source, target, `/dev/${name}`);
  close(target);
  close(source);
}
