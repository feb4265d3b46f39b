import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { openCanary } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import { testWith } from "../support/packages.js";
import { execute } from "../e2e/command.js";
import { PROGRAM } from "../faults/fault-lab.js";
import { forgeTar } from "../support/tar-forge.js";

const NAMES = ["xz", "gzip", "unpigz", "pigz", "zstd", "bzip2", "tar", "cp", "newuidmap", "newgidmap"];
const MORE = ["unshare", "setpriv", "mount", "node", "git", "sh", "getent", "id"];
const LIBRARIES = ["libnss_files.so.2", "libnss_compat.so.2", "libc.so.6", "ld-linux-x86-64.so.2"];

testWith(
  ["root", "strace", "xz", "zstd"],
  "C14: programs and libraries of an image are never run or loaded outside its sandbox",
  async () => {
    await using lab = await openLab();
    using canary = openCanary(lab.dir);
    const trap = `#!/bin/sh\necho trapped > ${canary.dir}/PWN\n`;
    const tar = forgeTar([{ name: "unpacked", content: "x" }]);
    for (const [program, suffix] of [
      ["xz", "xz"],
      ["zstd", "zst"],
      ["bzip2", "bz2"],
      ["gzip", "gz"],
    ] as const)
      writeFileSync(
        join(lab.context, `a.tar.${suffix}`),
        execFileSync(program, ["-c"], { input: tar, stdio: "pipe" }),
      );
    await loadBase(lab, [
      ...[...NAMES, ...MORE].flatMap((name) =>
        ["usr/bin", "usr/sbin", "usr/local/bin"].map((dir) => ({
          name: `${dir}/${name}`,
          content: trap,
          mode: 0o4755,
        })),
      ),
      ...LIBRARIES.map((name) => ({ name: `lib/x86_64-linux-gnu/${name}`, content: trap, mode: 0o755 })),
      { name: "etc/nsswitch.conf", content: "passwd: files evil\n" },
      { name: "etc/passwd", content: "root:x:0:0::/:\nbob:x:1000:1001::/:/bin/sh\n" },
    ]);
    // So that its files lie in the store, where something of ours could find them.
    await lab.build(`FROM ${HOSTILE}\nRUN ["/bin/busybox", "true"]\n`);
    const file = join(lab.dir, "Containerfile");
    writeFileSync(
      file,
      `FROM ${HOSTILE}
ENV PATH=/usr/local/bin:/usr/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu
ADD a.tar.xz /1/
ADD a.tar.zst /2/
ADD a.tar.bz2 /3/
ADD a.tar.gz /4/
COPY --chown=bob a.tar.gz /5
USER bob
WORKDIR /home/bob
`,
    );
    const log = join(lab.dir, "trace");
    const options = ["-f", "-qq", "-s", "300", "-e", "trace=execve,execveat,openat", "-o", log];
    const build = [process.execPath, PROGRAM, "build", "-f", file, "-t", "traced", lab.context];
    await execute("strace", [...options, ...build], { env: { COOPER_ROOT: lab.cooper.root } });
    canary.untouched();
    const lines = readFileSync(log, "utf8").split("\n");
    // Not at all: neither by its path in the store nor by a name that the image's PATH would lead to.
    const run = lines.filter((line) => /execve(at)?\(/.test(line) && line.includes("= 0"));
    expect(run.length).toBeGreaterThan(2);
    for (const line of run)
      expect(line).toMatch(
        /execve\("(\/usr\/local\/bin|\/usr\/bin|\/bin)\/(xz|zstd|bzip2)"|execve\("[^"]*node/,
      );
    expect(lines.filter((line) => line.includes(lab.cooper.root) && /\.so|nsswitch/.test(line))).toEqual([]);
    const inside = await runIn(lab, "traced", ["/bin/busybox", "id", "-u"], { user: "bob" });
    expect(inside.output).toBe("1000\n");
    canary.untouched();
  },
);
