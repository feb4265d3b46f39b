import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cooper } from "../e2e/command.js";
import { HOSTILE, loadBase } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import { openChrootSandbox } from "../../src/runtime/index.js";
import type { ExitStatus } from "../../src/runtime/index.js";
import type { Bench } from "../runtime/support.js";
import { childPath, exited, openBench, syscallProgram, testX64 } from "../runtime/support.js";

const PTRACE = 101;
/** To attach without stopping it. */
const PTRACE_SEIZE = 0x4206;
const [EPERM, ESRCH] = [1, 3];

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const hashes = (): readonly string[] =>
  [process.execPath, childPath].map((path) => createHash("sha256").update(readFileSync(path)).digest("hex"));

/**
 * Looks at every process that it can see, ten times, and tells what it found, then tries to write every executable. What this
 * proves is that it sees nothing but itself, also while others start beside it: the helper and its copies are outside of
 * its process namespace, and the copy that becomes it has let go of everything of ours by then. A name (`comm`) anybody may
 * read; what else there is of a process with more rights would be refused even where it is seen.
 */
const LOOK = `i=0; while [ $i -lt 10 ]; do i=$((i+1)); for p in /proc/[0-9]*; do
{ read -r c <$p/comm && echo "is $c"; ls -l $p/cwd $p/root $p/exe $p/fd; tr '\\0' '\\n' <$p/environ
echo x >$p/exe && echo WROTE; echo x >>$p/exe && echo WROTE; echo x >$p/mem && echo WROTE; } 2>/dev/null
done; done; echo done`;

/** What a command may see: its own programs' names, directories, files and variables. */
const OWN =
  /^(|done|total 0|\/proc\/\d+\/fd:|is (sh|ls|tr|busybox)|\/|\/bin\/busybox|\/dev\/null|\/proc\/\d+\/fd|PATH=\/bin|PWD=\/|SHLVL=\d|OLDPWD=.*)$/;

test("X01, X02: 200 commands that look at every process a thousand times see none but their own, and write nothing of ours", async () => {
  const before = hashes();
  bench.sandbox.prewarm("none");
  for (let round = 0; round < 100; round += 1) {
    const looks = await Promise.all([bench.sh(LOOK), bench.sh(LOOK)]);
    for (const { stdout } of looks) {
      expect(stdout).toMatch(/done\n$/);
      const seen = new Set(stdout.split("\n").map((line) => line.replace(/^.* -> /, "")));
      // Else it has not looked.
      expect([...seen]).toEqual(expect.arrayContaining(["is sh", "/bin/busybox", "/dev/null", "PATH=/bin"]));
      expect([...seen].filter((line) => !OWN.test(line) && !line.startsWith("pipe:["))).toEqual([]);
    }
  }
  expect(hashes()).toEqual(before);
}, 240_000);

testX64(
  "X02: a command by chroot, which is among all processes, may trace neither cooper nor its helper",
  async () => {
    await using chroot = openChrootSandbox({ childPath, scratchDir: bench.dir, userNamespace: false });
    const dir = bench.layer();
    const run = (): Promise<ExitStatus> =>
      chroot.run(
        bench.plan(["/seize"], {
          rootfs: { kind: "directory", dir, restored: () => undefined },
          network: "host",
        }),
        { signal: new AbortController().signal },
      );
    const seize = (pid: number): void =>
      writeFileSync(join(dir, "seize"), syscallProgram(PTRACE, [PTRACE_SEIZE, pid]), { mode: 0o755 });
    // Nobody: so the call itself is not what is refused.
    seize(0);
    expect(await run()).toEqual(exited(ESRCH));
    const [helper = 0] = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8")
      .split(" ")
      .filter((pid) => pid !== "" && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("chroot-child"))
      .map(Number);
    expect(helper).toBeGreaterThan(0);
    for (const pid of [process.pid, helper]) {
      seize(pid);
      expect(await run()).toEqual(exited(EPERM));
    }
  },
);

test("X03: nothing of cooper's own environment or processes is seen by RUN, and the command is process 1", async () => {
  await using lab = await openLab();
  await loadBase(lab, []);
  lab.write({
    Containerfile: `FROM ${HOSTILE}\nRUN echo pid $$; env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; ls /proc | grep -c '^[0-9]'; true\n`,
  });
  const options = {
    root: lab.cooper.root,
    env: { CANARY: "host-canary-value", AWS_SECRET: "host-canary-value" },
  };
  const { output } = await cooper(["build", "--no-cache", "--progress", "plain", lab.context], options);
  expect(output).toContain("pid 1\n");
  expect(output).not.toContain("host-canary-value");
  expect(output).not.toContain("sandbox-child");
  expect(output).not.toContain("COOPER_ROOT");
  const run = await cooper(["run", "--rm", HOSTILE, "sh", "-c", "cat /proc/*/environ; env"], options);
  expect(run.output).not.toContain("host-canary-value");
});
