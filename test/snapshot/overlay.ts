import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { PreparedRootfs } from "../../src/snapshot/index.js";

/** Runs a shell script in a real overlay mount of a prepared root file system, in a mount namespace of its own. */
export function inOverlay(rootfs: PreparedRootfs, script: string): string {
  if (rootfs.kind !== "overlay") throw new Error("no overlay to mount");
  const place = mkdtempSync(join(rootfs.workDir, "../mount-"));
  mkdirSync(join(place, "empty"));
  mkdirSync(join(place, "merged"));
  const lower = rootfs.lowerDirs.length === 0 ? join(place, "empty") : rootfs.lowerDirs.join(":");
  const options = `lowerdir=${lower},upperdir=${rootfs.upperDir},workdir=${rootfs.workDir},redirect_dir=off,index=off,metacopy=off`;
  const all = `mount -t overlay overlay -o "$1" "$2"; cd "$2"; ${script}`;
  return execFileSync(
    "unshare",
    ["--mount", "--propagation", "private", "sh", "-ec", all, "sh", options, join(place, "merged")],
    {
      encoding: "latin1",
      stdio: ["ignore", "pipe", "inherit"],
      maxBuffer: 64 * 1024 * 1024,
    },
  );
}

/** Lists what lies in the current directory, one line per path: type, mode, owner, time, size, target. */
export const FIND = String.raw`find . -mindepth 1 -printf '%P %y %m %U:%G %T@ %s %l\n' | sed -E 's/^(.* d [0-7]+ [0-9:]+ [0-9.]+) [0-9]+ /\1 0 /' | LC_ALL=C sort`;
