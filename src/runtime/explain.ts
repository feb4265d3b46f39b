import { constants } from "node:os";
import { CooperError } from "../errors.js";
import type { Refusal } from "./helper-plan.js";

const PRIVILEGED =
  "cooper needs to mount and to make namespaces: inside a container start that with --privileged, in Kubernetes with privileged: true";

const MEANING: Readonly<Record<string, string>> = {
  EPERM: "operation not permitted",
  EACCES: "permission denied",
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
  EINVAL: "invalid argument",
  ENOSYS: "this kernel does not have it",
  ENODEV: "this kernel does not have it",
  ENOSPC: "a limit is reached",
  ELOOP: "too many symbolic links",
  EROFS: "read-only file system",
};

/** Why a process was not started, as one line that names the refused call, and what to change. */
export function explainRefusal(refusal: Refusal): CooperError {
  const { doing, call, errno, path } = refusal;
  if (errno === undefined) return new CooperError("sandbox", `cannot ${doing}: ${refusal.message}`);
  const where = path === undefined || path === "" ? "" : ` ${path}`;
  const hint = hintFor(refusal);
  const reason = `${MEANING[errno] ?? meaningOf(errno)} (${errno})`;
  return new CooperError(
    "sandbox",
    `cannot ${doing}: ${call ?? "call"}${where}: ${reason}`,
    hint === undefined ? {} : { hint },
  );
}

function meaningOf(errno: string): string {
  return errno in constants.errno ? "refused" : "failed";
}

function hintFor({ doing, call, errno }: Refusal): string | undefined {
  if (doing.startsWith("become user") && errno === "EINVAL") {
    return "this user id is not mapped: give the user a range of subordinate ids in /etc/subuid and /etc/subgid (usermod --add-subuids)";
  }
  if (call === "clone" && errno === "ENOSPC")
    return "raise the limits in /proc/sys/user (sysctl user.max_pid_namespaces and the like)";
  if (doing === "mount the root file system" && errno === "ENODEV")
    return "the kernel has no overlay file system: modprobe overlay";
  if (doing === "mount the root file system" && errno === "EINVAL") {
    return "the store's file system may not serve as an overlay's upper directory (it is one itself, or NFS): choose another with --root, or rootless a kernel of 5.11 or newer";
  }
  if (doing === "mount /proc")
    return "something hides parts of /proc from cooper: inside a container start that with --privileged or --security-opt systempaths=unconfined";
  if (errno === "ENOSYS") return "cooper needs Linux 5.12 or newer";
  return errno === "EPERM" || errno === "EACCES" ? PRIVILEGED : undefined;
}

/** Why the helper did not start, from what `setpriv`, `unshare` or Node said. */
export function explainStart(said: string): CooperError {
  const line = said.trim().split("\n").at(-1) ?? "";
  if (/ENOENT/.test(line)) {
    return new CooperError("sandbox", "cannot start a sandbox: setpriv and unshare are not installed", {
      hint: "install the package util-linux",
    });
  }
  if (/Operation not permitted|Permission denied/.test(line)) {
    return new CooperError("sandbox", `cannot start a sandbox: ${line}`, { hint: PRIVILEGED });
  }
  if (/No space left/.test(line)) {
    return new CooperError("sandbox", `cannot start a sandbox: ${line}`, {
      hint: "raise the limits in /proc/sys/user (sysctl user.max_mnt_namespaces and the like)",
    });
  }
  return new CooperError(
    "sandbox",
    `cannot start a sandbox: ${line === "" ? "its helper process ended at once" : line}`,
  );
}
