import type { ChildProcess } from "node:child_process";
import { HOST_PATH } from "./host-path.js";

/** Removes what a driver that was killed left behind. */
export interface CgroupKeeper {
  /** Cgroups of our prefix are made below this directory, too. */
  watch(dir: string): void;
  /** Resolves when it is gone. */
  stop(): Promise<void>;
}

/** Directories come by stdin, one a line; the end of it is the end of the driver. A pid of 0 is of a namespace that is gone. */
const SCRIPT = `prefix=$1; set --
clear() {
  for below in "$1"/*/; do [ -d "$below" ] && clear "$below"; done
  for pid in $(cat "$1/cgroup.procs"); do [ "$pid" -gt 0 ] && kill -9 "$pid"; done
  rmdir "$1"
}
while IFS= read -r dir; do set -- "$@" "$dir"; done
tries=0
while [ $tries -lt 100 ]; do
  left=
  for dir do for group in "$dir/$prefix"*; do
    [ -d "$group" ] || continue
    clear "$group" || left=1
  done; done
  [ "$left" ] || exit 0
  sleep 0.1; tries=$((tries + 1))
done`;

/** Starts the keeper: a shell in a session of its own, which has none of our streams and keeps nobody running. */
export function startKeeper(prefix: string): CgroupKeeper {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const child: ChildProcess = spawn("sh", ["-c", SCRIPT, "sh", prefix], {
    cwd: "/",
    env: { PATH: HOST_PATH },
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const ended = new Promise<void>((resolve) => {
    child.on("close", () => resolve());
    // Without a shell there is no build either: nothing more to say here.
    child.on("error", () => resolve());
  });
  child.stdin?.on("error", () => undefined);
  child.unref();
  const stream = child.stdin as (NodeJS.WritableStream & { unref?: () => void }) | null;
  stream?.unref?.();
  return {
    watch: (dir) => void stream?.write(`${dir}\n`),
    stop: () => {
      child.ref();
      stream?.end();
      return ended;
    },
  };
}
