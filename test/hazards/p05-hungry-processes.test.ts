import { afterAll, beforeAll, expect } from "vitest";
import { DEFAULT_LIMITS } from "../../src/runtime/index.js";
import type { SandboxLimits } from "../../src/runtime/index.js";
import type { Bench } from "../runtime/support.js";
import { openBench } from "../runtime/support.js";
import { testWith } from "../support/packages.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const MEBIBYTE = 1024 * 1024;
const limits = (given: Partial<SandboxLimits>): SandboxLimits => ({ ...DEFAULT_LIMITS, ...given });

testWith(["root"], "P5: a fork bomb is held by the limit and gone afterwards", async () => {
  // Each copy starts two more until none can; the first one ends meanwhile, and all others with it.
  const bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1; echo over";
  const { stdout, status } = await bench.sh(bomb, { limits: limits({ pids: { limit: 64, asked: true } }) });
  expect([stdout, status.kind]).toEqual(["over\n", "exited"]);
  expect((await bench.sh("echo /proc/[0-9]*")).stdout).toBe("/proc/1\n");
});

testWith(["root"], "P5: zombies count as processes", async () => {
  // Process 1 does not wait for them.
  const script = "i=0; while [ $i -lt 200 ]; do (exec true) & i=$((i+1)); done; exec sleep 0";
  const { stderr } = await bench.sh(`exec sh -c '${script}'`, {
    limits: limits({ pids: { limit: 20, asked: true } }),
  });
  expect(stderr === "" || stderr.includes("can't fork")).toBe(true);
});

testWith(["root"], "P5: a memory hog is ended and told, the sandbox goes on", async () => {
  const given = limits({ memoryBytes: 64 * MEBIBYTE });
  const { status } = await bench.sh("x=0123456789abcdef; while :; do x=$x$x$x$x; done", { limits: given });
  expect(status).toEqual({ kind: "killed", signal: "SIGKILL", outOfMemory: true });
  expect((await bench.sh("echo alive", { limits: given })).stdout).toBe("alive\n");
});

testWith(["root"], "P5: /dev/shm is full at its size, /tmp of a step is the disk's", async () => {
  const { stdout, stderr } = await bench.sh(
    "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>&1 | grep -c 'No space'; dd if=/dev/zero of=/dev/x bs=1M count=200",
    { limits: limits({ shmBytes: 4 * MEBIBYTE }) },
  );
  expect(stdout).toBe("1\n");
  expect(stderr).toContain("No space left");
});

testWith(["root"], "P5: a tmpfs of its own size holds no more, and its memory counts", async () => {
  const fill = "dd if=/dev/zero of=/tmp/x bs=1M count=100 2>/dev/null; echo $?";
  const mounts = [{ type: "tmpfs", target: "/tmp", sizeBytes: 4 * MEBIBYTE }] as const;
  expect((await bench.sh(fill, { mounts })).stdout).toBe("1\n");
  const large = [{ type: "tmpfs", target: "/tmp", sizeBytes: 1024 * MEBIBYTE }] as const;
  const given = limits({ memoryBytes: 32 * MEBIBYTE, memorySwapBytes: 32 * MEBIBYTE });
  expect(await bench.sh(fill, { mounts: large, limits: given })).toMatchObject({
    stdout: "137\n",
    status: { outOfMemory: true },
  });
});
