import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bench } from "../runtime/support.js";
import { exited, openBench, syscallProgram, testX64 } from "../runtime/support.js";

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
