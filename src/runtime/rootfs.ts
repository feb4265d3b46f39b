import { fstatSync } from "node:fs";
import { fillDev, hostDevice } from "./devices.js";
import type { HelperPlan } from "./helper-plan.js";
import type { IdMapping } from "./id-mapping.js";
import { mountOverlay } from "./overlay.js";
import { doing } from "./refusal.js";
import type { Traces } from "./root-walk.js";
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
  mount,
  newMount,
  openAt,
  restrictMount,
  syscall,
  trySyscall,
} from "./syscalls.js";
import { attachUserMounts, SYSTEM } from "./user-mounts.js";

const MS_REC = 0x4000;
const MS_PRIVATE = 0x40000;
const MNT_DETACH = 2;

/**
 * Makes the step's root file system in this process's own mount namespace and enters it. Returns what had to be made in
 * the upper directory, for the parent to remove. `/proc` is a new one, `/dev` never the image's, and no path of the
 * image is ever resolved outside of it. Order of calls: user mounts come before /proc, /dev and /sys, so that a link in
 * the image cannot aim them at the kernel's files.
 */
export function enterRootfs(
  plan: HelperPlan,
  mapping: IdMapping | undefined,
  terminal: number | undefined,
): Traces {
  const { rootFd, traces } = mountRootfs(plan, mapping);
  for (const name of SYSTEM) {
    doing(`mount /${name}`, () => attachSystem(rootFd, name, plan));
  }
  doing("fill /dev", () => fillDev(rootFd, plan, terminal));
  if (plan.security.kernelFiles === "guarded")
    doing("hide the kernel's files", () => hideSystemFiles(rootFd));
  doing("enter the root file system", () => pivotTo(rootFd));
  return traces;
}

/** The step's root file system with its mounts, without those of the system; the caller closes. */
export function mountRootfs(
  plan: HelperPlan,
  mapping: IdMapping | undefined,
): {
  readonly rootFd: number;
  /** Where it is mounted, relative to the mount point. */
  readonly place: string;
  readonly traces: Traces;
} {
  doing("separate the mounts", () => mount("none", "/", null, MS_REC | MS_PRIVATE, null));
  const { rootFd, place } = doing("mount the root file system", () => openRoot(plan, mapping));
  const traces = doing("mount the step's files", () => attachUserMounts(rootFd, plan, mapping));
  return { rootFd, place, traces };
}

/** The current directory is then a tmpfs that nobody else sees: for the short names of layers, and for secrets. */
function openRoot(
  plan: HelperPlan,
  mapping: IdMapping | undefined,
): { readonly rootFd: number; readonly place: string } {
  mount("tmpfs", plan.mountPoint, "tmpfs", 0, "mode=700");
  syscall("chdir", plan.mountPoint, cString(plan.mountPoint));
  const place = mountOverlay({ ...plan, place: "L", mapping });
  return { place, rootFd: openAt(AT_FDCWD, place, O_PATH | O_DIRECTORY) };
}

/** One of the mounts that every process has; the place for it exists. */
export function attachSystem(rootFd: number, name: "proc" | "sys" | "dev", plan: HelperPlan): void {
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
  const readOnly = plan.security.kernelFiles === "guarded" ? MOUNT.readOnly : 0;
  const attributes = readOnly | MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec;
  if (plan.network !== "host" || !plan.userNamespace) return newMount("sysfs", {}, attributes);
  const copy = cloneMount(AT_FDCWD, "/sys");
  restrictMount(copy, attributes);
  return copy;
}

/** Of the kernel's files: those that a process may only read, and those that it does not see. */
export const READ_ONLY = names("proc", "asound bus fs irq sys sysrq-trigger");
export const MASKED = [
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
