import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bench } from "../runtime/support.js";
import { exited, openBench, syscallProgram, testX64 } from "../runtime/support.js";
import { PROGRAM } from "../faults/fault-lab.js";
import { HOSTILE, loadBase } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import { testWith } from "../support/packages.js";
import { openTerminal } from "../support/terminal.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const IOCTL = 16;
const TIOCSTI = 0x5412;
/** A mapped address of the program: one byte of its own header is what it would type. */
const BYTE = 0x400000;

testX64("X09: a command cannot type into a terminal of the host: it has none", async () => {
  const layer = bench.layer();
  for (const fd of [0, 1, 2]) {
    writeFileSync(join(layer, `type-${fd}`), syscallProgram(IOCTL, [fd, TIOCSTI, BYTE]));
    chmodSync(join(layer, `type-${fd}`), 0o755);
    const { status } = await bench.run([`/type-${fd}`], { lowerDirs: [layer, bench.base] });
    // ENOTTY, or EPERM where the kernel or the filter refuses the call itself.
    expect([exited(25), exited(1)]).toContainEqual(status);
  }
});

test("X09: a command leads a session of its own and has no controlling terminal", async () => {
  const { stdout, stderr } = await bench.sh(
    "cut -d' ' -f6,7 /proc/1/stat; (exec 3</dev/tty) && echo OPENED; tty; ls -l /proc/self/fd/0 | sed 's/.*-> //'",
  );
  expect(stdout).toBe("1 0\nnot a tty\n/dev/null\n");
  expect(stderr).toMatch(/\/dev\/tty: No such device or address/);
});

/** Types into the terminal that is its stdin, then opens what would be its controlling terminal. */
const TYPE = "test -t 0 && echo has one; /type; echo typed: $?; (exec 3</dev/tty) || echo none";

testWith(
  ["root", "script", "crun"],
  "X09: a command that reads from cooper's terminal cannot type into it, whatever runs the command",
  async () => {
    await using lab = await openLab();
    // The program is x86-64 machine code; elsewhere only opening the terminal is tried.
    const content =
      process.arch === "x64" ? syscallProgram(IOCTL, [0, TIOCSTI, BYTE]) : "#!/bin/sh\nexit 1\n";
    await loadBase(lab, [{ name: "type", content, mode: 0o755 }]);
    const run = [process.execPath, PROGRAM, "--root", lab.cooper.root, "run", "--rm", "-i", "--network=host"];
    const texts = ["native", "oci", "chroot"].map(async (isolation) => {
      const terminal = await openTerminal([...run, "--isolation", isolation, HOSTILE, "sh", "-c", TYPE]);
      expect(await terminal.ended).toBe(0);
      return terminal.text;
    });
    for (const text of await Promise.all(texts)) {
      // EPERM: it is not theirs; or EIO, from a kernel that lets nobody type (dev.tty.legacy_tiocsti).
      expect(text).toMatch(/has one\ntyped: [15]\n/);
      expect(text).toContain("none\n");
    }
  },
);
