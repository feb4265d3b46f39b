import { fstatSync } from "node:fs";
import { fillDev, hostDevice } from "./devices.js";
import type { HelperPlan } from "./helper-plan.js";
import { codeOf, doing } from "./refusal.js";
import { missingIn, openInRoot, rememberStubs } from "./root-walk.js";
import type { Stub } from "./root-walk.js";
import {
  AT_FDCWD,
  MOUNT,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  attachMount,
  cString,
  cloneMount,
  close,
  errnoName,
  mount,
  newMount,
  openAt,
  restrictMount,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";
import type { SandboxMount } from "./types.js";

const MS_NODEV = 4;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x40000;
const MNT_DETACH = 2;

/**
 * Makes the step's root file system in this process's own mount namespace and enters it. Returns what had to be made in
 * the upper directory, for the parent to remove. `/proc` is a new one, `/dev` never the image's, and no path of the
 * image is ever resolved outside of it. Order of calls: user mounts come before /proc, /dev and /sys, so that a link in
 * the image cannot aim them at the kernel's files.
 */
export function enterRootfs(plan: HelperPlan, terminal: number | undefined): readonly Stub[] {
  doing("separate the mounts", () => mount("none", "/", null, MS_REC | MS_PRIVATE, null));
  doing("mount the root file system", () => mountOverlay(plan));
  const rootFd = openAt(AT_FDCWD, rootOf(plan), O_PATH | O_DIRECTORY);
  const stubs = doing("mount the step's files", () => attachAll(rootFd, plan));
  for (const name of SYSTEM) {
    doing(`mount /${name}`, () => attachSystem(rootFd, name, plan));
  }
  doing("fill /dev", () => fillDev(rootFd, plan, terminal));
  doing("hide the kernel's files", () => hideSystemFiles(rootFd));
  doing("enter the root file system", () => pivotTo(rootFd));
  return stubs;
}

function rootOf(plan: HelperPlan): string {
  return `${plan.mountPoint}/R`;
}

/**
 * mount(2) reads its options from one page, too small for many absolute paths: each directory gets a short name in a
 * tmpfs that nobody else sees. Works on every kernel, and 500 layers take 6 ms.
 */
function mountOverlay(plan: HelperPlan): void {
  mount("tmpfs", plan.mountPoint, "tmpfs", 0, "mode=700");
  syscall("chdir", plan.mountPoint, cString(plan.mountPoint));
  // Capital letters are never in a number of base 36.
  const lowers = plan.lowerDirs.map((dir, index) => {
    const name = index.toString(36);
    syscall("symlinkat", dir, cString(dir), AT_FDCWD, cString(name));
    return name;
  });
  syscall("symlinkat", plan.upperDir, cString(plan.upperDir), AT_FDCWD, cString("U"));
  syscall("symlinkat", plan.workDir, cString(plan.workDir), AT_FDCWD, cString("W"));
  syscall("mkdirat", "R", AT_FDCWD, cString("R"), 0o755);
  const dirs = `lowerdir=${lowers.join(":")},upperdir=U,workdir=W`;
  const options = plan.userNamespace
    ? "userxattr,index=off,metacopy=off"
    : "index=off,metacopy=off,redirect_dir=off";
  // Kernels before 6.6 do not know uuid=null, before 5.10 not volatile.
  const tries = [
    `${dirs},${options},volatile,uuid=null`,
    `${dirs},${options},volatile`,
    `${dirs},${options}`,
  ];
  for (const data of tries) {
    const result = trySyscall(
      "mount",
      cString("overlay"),
      cString("R"),
      cString("overlay"),
      MS_NODEV,
      cString(data),
    );
    if (result === 0) return;
    if (result !== -22 /* EINVAL */ || data === tries.at(-1))
      throw syscallError(errnoName(-result), "mount", "overlay");
  }
}

function attachAll(rootFd: number, plan: HelperPlan): readonly Stub[] {
  const upperFd = openAt(AT_FDCWD, plan.upperDir, O_PATH | O_DIRECTORY);
  const fresh: (readonly string[])[] = [];
  const note = (names: readonly string[]): void => void fresh.push(...missingIn(upperFd, [names]));
  for (const name of SYSTEM) makeSystemDirectory(rootFd, name, note);
  for (const entry of plan.mounts) attachUserMount(rootFd, entry, note);
  const stubs = fresh.length === 0 ? [] : rememberStubs(upperFd, fresh);
  close(upperFd);
  return stubs;
}

/** Only needed when the stack is so high that there was no room for the stub layers. */
function makeSystemDirectory(rootFd: number, name: string, note: (names: readonly string[]) => void): void {
  const found = trySyscall("openat", rootFd, cString(name), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (found >= 0) return close(found);
  note([name]);
  syscall("mkdirat", `/${name}`, rootFd, cString(name), 0o755);
}

function attachUserMount(
  rootFd: number,
  entry: SandboxMount,
  note: (names: readonly string[]) => void,
): void {
  const source = detached(entry);
  const kind = fstatSync(source).isDirectory() ? "directory" : "file";
  const before = (names: readonly string[]): void => {
    refuseSystemPlace(entry.target, names);
    note(names);
  };
  try {
    const target = openInRoot(rootFd, entry.target, { kind, before });
    if (target === undefined) throw syscallError("ENOENT", "openat", entry.target);
    refuseSystemPlace(entry.target, target.names);
    attachMount(source, target.fd, entry.target);
    close(target.fd);
  } catch (error) {
    // An image may point its resolv.conf at /dev/null and the like: then it is not ours to fill.
    if (!(NETWORK_FILES.includes(entry.target) && codeOf(error) === "EINVAL")) throw error;
  }
  close(source);
}

const SYSTEM = ["proc", "sys", "dev"] as const;
const NETWORK_FILES = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];

/** A link in the image may have led the target to the root itself, or to where the kernel's own files will be (hazard C10). */
function refuseSystemPlace(target: string, names: readonly string[]): void {
  const [first] = names;
  if (first === undefined || SYSTEM.some((name) => name === first))
    throw syscallError("EINVAL", "move_mount", target);
}

function detached(entry: SandboxMount): number {
  if (entry.type === "tmpfs") {
    const size = entry.sizeBytes === undefined ? {} : { size: String(entry.sizeBytes) };
    return newMount(
      "tmpfs",
      { mode: (entry.mode ?? 0o1777).toString(8), ...size },
      MOUNT.noSuid | MOUNT.noDev,
    );
  }
  if (entry.type !== "bind") throw new Error(`no mount of type ${entry.type}`);
  const source = cloneMount(AT_FDCWD, entry.source);
  const file = fstatSync(source).isDirectory()
    ? 0
    : MOUNT.noSuid | (NETWORK_FILES.includes(entry.target) ? MOUNT.noExec : 0);
  restrictMount(source, MOUNT.noDev | file | (entry.readOnly ? MOUNT.readOnly : 0));
  return source;
}

function attachSystem(rootFd: number, name: "proc" | "sys" | "dev", plan: HelperPlan): void {
  const flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
  // The stub layer on top makes these directories whatever the image has there, a link included.
  const target = openAt(rootFd, name, flags);
  const still = MOUNT.noSuid | MOUNT.noExec;
  if (name === "proc") attachMount(newMount("proc", {}, still | MOUNT.noDev), target, "/proc");
  else if (name === "dev")
    attachMount(newMount("tmpfs", { mode: "755", size: "65536k" }, still), target, "/dev");
  else attachMount(sysfs(plan), target, "/sys");
  close(target);
}

/** A new sysfs shows the network namespace it was made in, and only that one's owner may make it. */
function sysfs(plan: HelperPlan): number {
  const attributes = MOUNT.readOnly | MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec;
  if (plan.network === "none" || !plan.userNamespace) return newMount("sysfs", {}, attributes);
  const copy = cloneMount(AT_FDCWD, "/sys");
  restrictMount(copy, attributes);
  return copy;
}

const READ_ONLY = names("proc", "asound bus fs irq sys sysrq-trigger");
const MASKED = [
  names("proc", "acpi interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats"),
  names("sys", "devices/virtual/powercap firmware fs/bpf fs/cgroup fs/selinux kernel/debug kernel/tracing"),
].flat();

function names(dir: string, list: string): readonly string[] {
  return list.split(" ").map((name) => `${dir}/${name}`);
}

/** The union of what podman and BuildKit hide or make read-only; kernels differ in which of it they have. */
function hideSystemFiles(rootFd: number): void {
  for (const path of READ_ONLY) {
    withExisting(rootFd, path, (target) => {
      const copy = cloneMount(target, "");
      restrictMount(copy, MOUNT.readOnly | MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec);
      return copy;
    });
  }
  const attributes = MOUNT.readOnly | MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec;
  for (const path of MASKED) {
    withExisting(rootFd, path, (target) =>
      fstatSync(target).isDirectory() ? newMount("tmpfs", { mode: "555" }, attributes) : hostDevice("null"),
    );
  }
}

function withExisting(rootFd: number, path: string, source: (target: number) => number): void {
  // struct open_how: flags, mode, resolve (BENEATH | NO_SYMLINKS | NO_MAGICLINKS).
  const how = BigUint64Array.from([BigInt(O_PATH | O_NOFOLLOW | O_CLOEXEC), 0n, 0x08n | 0x04n | 0x02n]);
  const target = trySyscall("openat2", rootFd, cString(path), how, 24);
  if (target < 0) return;
  const mountFd = source(target);
  attachMount(mountFd, target, `/${path}`);
  close(mountFd);
  close(target);
}

function pivotTo(rootFd: number): void {
  syscall("fchdir", "/", rootFd);
  close(rootFd);
  syscall("pivot_root", "/", cString("."), cString("."));
  syscall("umount2", ".", cString("."), MNT_DETACH);
  syscall("chdir", "/", cString("/"));
}
