import { readFileSync, readlinkSync, statSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { HOST_PATH } from "./host-path.js";

/**
 * All that decides which driver works for a process, as plain text. Two processes with equal rights get the same
 * answers; a container with others on the same store does not.
 */
export interface Rights {
  readonly bootId: string;
  readonly kernel: string;
  readonly uid: number;
  /** The effective set, 16 hex digits as in /proc/self/status. */
  readonly capabilities: string;
  readonly seccomp: string;
  readonly noNewPrivileges: string;
  readonly mountNamespace: string;
  readonly userNamespace: string;
  /** The profile of AppArmor or SELinux's context. */
  readonly confinement: string;
  /** Switches of the kernel, and the programs and files that a driver needs, with their sizes and times. */
  readonly surroundings: string;
}

const CAP_SYS_CHROOT = 18;

/** `path`: where programs are looked for beside the usual directories, as in `PATH`. */
export function readRights(path: string): Rights {
  const status = statusFields();
  return {
    bootId: textOf("/proc/sys/kernel/random/boot_id"),
    kernel: release(),
    uid: process.geteuid?.() ?? -1,
    capabilities: status("CapEff"),
    seccomp: `${status("Seccomp")} ${status("Seccomp_filters")}`,
    noNewPrivileges: status("NoNewPrivs"),
    mountNamespace: linkOf("/proc/self/ns/mnt"),
    userNamespace: linkOf("/proc/self/ns/user"),
    confinement: textOf("/proc/self/attr/current"),
    surroundings: surroundings(path),
  };
}

/** Whether a process with these rights may change its root directory. */
export function mayChroot({ capabilities }: Rights): boolean {
  return ((BigInt(`0x${capabilities || "0"}`) >> BigInt(CAP_SYS_CHROOT)) & 1n) === 1n;
}

function statusFields(): (name: string) => string {
  const text = textOf("/proc/self/status");
  return (name) => new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(text)?.[1] ?? "";
}

const SWITCHES = [
  "/proc/sys/kernel/unprivileged_userns_clone",
  "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
  "/proc/sys/user/max_user_namespaces",
];
const PROGRAMS = ["setpriv", "unshare", "newuidmap", "newgidmap", "crun", "runc", "youki"];

/** What a user changes to make more possible: after that, what was refused is tried again. */
function surroundings(path: string): string {
  const dirs = [...new Set([...path.split(":"), ...HOST_PATH.split(":")])].filter((dir) =>
    dir.startsWith("/"),
  );
  const programs = PROGRAMS.flatMap((name) => dirs.map((dir) => join(dir, name)));
  return [...SWITCHES.map(textOf), ...["/etc/subuid", "/etc/subgid", ...programs].map(fileMark)]
    .filter((mark) => mark !== "")
    .join("; ");
}

function fileMark(path: string): string {
  try {
    const { mode, size, mtimeMs } = statSync(path);
    return `${path} ${mode.toString(8)} ${size} ${mtimeMs}`;
  } catch {
    // Not there, or in a directory that is not ours to look into.
    return "";
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1").replaceAll("\0", "").trim();
  } catch {
    return "";
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
