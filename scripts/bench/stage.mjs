// Where the bench happens: a file system of its own that nothing else writes to and that is gone afterwards.
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Runs this script again inside a private mount namespace, once: whatever ends it, no mount is left behind.
 * crun refuses hosts with cgroup v1 controllers and a cgroup v2 tree beside them, so the second tree is hidden there.
 */
export function enterMountNamespace() {
  if (process.env.COOPER_BENCH_INSIDE === "1") return;
  const script =
    'mount --make-rprivate /; if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"';
  const { status, error } = spawnSync(
    "setpriv",
    [
      "--pdeathsig",
      "TERM",
      "unshare",
      "--mount",
      "sh",
      "-c",
      script,
      "sh",
      process.execPath,
      ...process.argv.slice(1),
    ],
    { stdio: "inherit", env: { ...process.env, COOPER_BENCH_INSIDE: "1" } },
  );
  if (error !== undefined) throw error;
  process.exit(status ?? 1);
}

/** Mounts a fresh ext4 with a journal (from a sparse file) or a tmpfs. Returns its directory and how to take it away. */
export function makeStage(kind, parent = tmpdir()) {
  const home = mkdtempSync(join(parent, "cooper-bench-"));
  const dir = join(home, "stage");
  mkdirSync(dir);
  try {
    if (kind === "tmpfs") {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=16g", "cooper-bench", dir]);
    } else {
      const image = join(home, "ext4.img");
      const fd = openSync(image, "w");
      ftruncateSync(fd, 24 * 2 ** 30);
      closeSync(fd);
      // Everything that mkfs would otherwise leave to a kernel thread is done now and not during a measurement.
      execFileSync("mkfs.ext4", [
        "-q",
        "-F",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0",
        "-O",
        "has_journal",
        image,
      ]);
      execFileSync("mount", ["-o", "loop,noatime", image, dir]);
    }
  } catch (error) {
    rmSync(home, { recursive: true, force: true });
    throw error;
  }
  return {
    dir,
    remove() {
      spawnSync("umount", ["--recursive", "--lazy", dir]);
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}
