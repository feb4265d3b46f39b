import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cooper } from "../e2e/command.js";
import { HOSTILE, loadBase } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import type { Bench } from "../runtime/support.js";
import { childPath, openBench } from "../runtime/support.js";

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
 * its process namespace, and the copy that becomes it has let go of everything of ours by then.
 */
const LOOK = `i=0; while [ $i -lt 10 ]; do i=$((i+1)); for p in /proc/[0-9]*; do
readlink $p/cwd $p/root $p/exe $p/fd/* 2>/dev/null; cat $p/environ 2>/dev/null | tr '\\0' '\\n'
(echo x > $p/exe) 2>/dev/null && echo WROTE; (echo x >> $p/exe) 2>/dev/null && echo WROTE
(echo x > $p/mem) 2>/dev/null; done; done; echo done`;

test("X01, X02: 200 commands that look at every process a thousand times see none but their own, and write nothing of ours", async () => {
  const before = hashes();
  bench.sandbox.prewarm("none");
  for (let round = 0; round < 100; round += 1) {
    const looks = await Promise.all([bench.sh(LOOK), bench.sh(LOOK)]);
    for (const { stdout } of looks) {
      expect(stdout).toMatch(/done\n$/);
      const lines = new Set(stdout.split("\n").filter((line) => !line.startsWith("pipe:[")));
      for (const line of lines)
        expect(line).toMatch(
          /^(|done|\/|\/proc|\/bin\/busybox|\/dev\/null|\/proc\/.*|PATH=\/bin|PWD=\/|SHLVL=\d|OLDPWD=.*)$/,
        );
    }
  }
  expect(hashes()).toEqual(before);
}, 240_000);

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
