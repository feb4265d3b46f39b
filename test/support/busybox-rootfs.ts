import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { programPath } from "./programs.js";

/**
 * Fills `dir` with the smallest root file system that has a shell: static busybox and its links, /etc/passwd, /tmp.
 * For `FROM scratch` + `COPY` in tests that need no Debian.
 */
export function writeBusyboxRootfs(dir: string): void {
  const busybox = programPath("busybox");
  if (busybox === undefined) throw new Error("busybox is not installed (Debian package busybox-static)");
  for (const part of ["bin", "etc", "root", "tmp"]) mkdirSync(join(dir, part), { recursive: true });
  copyFileSync(busybox, join(dir, "bin/busybox"));
  chmodSync(join(dir, "bin/busybox"), 0o755);
  chmodSync(join(dir, "tmp"), 0o1777);
  const applets = execFileSync(busybox, ["--list"], { encoding: "utf8" }).trim().split("\n");
  for (const applet of applets) if (applet !== "busybox") symlinkSync("busybox", join(dir, "bin", applet));
  writeFileSync(
    join(dir, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
  );
  writeFileSync(join(dir, "etc/group"), "root:x:0:\nnogroup:x:65534:\n");
}
