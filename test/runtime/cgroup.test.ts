import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cgroupPlaces } from "../../src/runtime/cgroup-places.js";
import { DEFAULT_LIMITS } from "../../src/runtime/index.js";
import type { SandboxLimits } from "../../src/runtime/index.js";
import { cgroupsNamed } from "../support/leftovers.js";
import { testWith } from "../support/packages.js";
import type { Bench } from "./support.js";
import { bundleProgram, childPath, openBench } from "./support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const places = cgroupPlaces(
  readFileSync("/proc/self/mountinfo", "utf8"),
  readFileSync("/proc/self/cgroup", "utf8"),
);
const limits = (given: Partial<SandboxLimits>): SandboxLimits => ({ ...DEFAULT_LIMITS, ...given });

/** Cgroups of cooper's, of a driver in this process or of `pid`. */
function left(pid = process.pid): readonly string[] {
  return cgroupsNamed(`cooper-${pid}-`).map((line) => line.replace("cgroup ", ""));
}

describe("the kernel applies limits", () => {
  testWith(["root"], "processes: as many as by default, as asked, or any number", async () => {
    const script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; jobs | wc -l; kill $(jobs -p)";
    expect(Number((await bench.sh(script)).stdout)).toBe(30);
    const few = await bench.sh(script, { limits: limits({ pids: { limit: 10, asked: true } }) });
    expect(few.stderr).toContain("can't fork");
    const all = await bench.sh(script, { limits: limits({ pids: { limit: 0, asked: true } }) });
    expect(Number(all.stdout)).toBe(30);
    expect(left()).toEqual([]);
  });

  testWith(["root"], "memory: what is too large is ended, and it is told", async () => {
    const given = limits({ memoryBytes: 32 << 20, memorySwapBytes: 32 << 20 });
    // dd takes its block in memory at once.
    const hog = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo $?";
    expect(await bench.sh(hog, { limits: given })).toMatchObject({
      stdout: "137\n",
      status: { kind: "exited", code: 0, outOfMemory: true },
    });
    const small = await bench.sh("dd if=/dev/zero of=/dev/null bs=2M count=1 2>/dev/null; echo $?", {
      limits: given,
    });
    expect(small.stdout).toBe("0\n");
    expect(small.status).toEqual({ kind: "exited", code: 0 });
    expect(left()).toEqual([]);
  });

  testWith(["root"], "memory that /dev/shm and /tmp hold counts", async () => {
    const given = limits({ memoryBytes: 32 << 20, memorySwapBytes: 32 << 20, shmBytes: 0 });
    const fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=200 2>/dev/null; echo $?";
    expect(await bench.sh(fill, { limits: given })).toMatchObject({
      stdout: "137\n",
      status: { outOfMemory: true },
    });
  });

  testWith(["root"], "processors", async () => {
    // Throttled time is counted by the kernel itself, in a file of the cgroup; the process has no other sign of it.
    const running = bench.sh("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done", {
      limits: limits({ cpus: 0.1 }),
    });
    let throttled = 0;
    let over = false;
    void running.finally(() => (over = true));
    while (!over) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      const paths = left()
        .map((dir) => `${dir}/cpu.stat`)
        .filter((path) => existsSync(path));
      for (const path of paths) {
        const count = /nr_throttled (\d+)/.exec(readFileSync(path, "utf8"))?.[1];
        if (count !== undefined) throttled = Math.max(throttled, Number(count));
      }
    }
    await running;
    expect(throttled).toBeGreaterThan(0);
  });

  testWith(["root"], "the cgroup is the root of what the process sees", async () => {
    const { stdout } = await bench.sh("cat /proc/self/cgroup; ls /sys/fs/cgroup", {
      limits: limits({ memoryBytes: 64 << 20 }),
    });
    for (const name of ["memory", "pids"])
      if (places.v1.has(name)) expect(stdout).toMatch(new RegExp(`:${name}:/\n`));
    expect(stdout).not.toContain("cooper-");
  });

  testWith(["root"], "nothing of them is left when a process cannot start", async () => {
    await expect(bench.sh("true", { uid: 2 ** 32 - 1 })).rejects.toThrow("cannot be a user");
    const { status } = await bench.run(["/nope"], { limits: limits({ memoryBytes: 64 << 20, cpus: 1 }) });
    expect(status).toEqual({ kind: "exited", code: 127 });
    const controller = new AbortController();
    const aborted = bench.run(
      ["sleep", "100"],
      { limits: limits({ memoryBytes: 64 << 20 }) },
      controller.signal,
    );
    setTimeout(() => controller.abort(), 300);
    await expect(aborted).rejects.toThrow("stopped");
    expect(left()).toEqual([]);
  });
});

describe("a driver that is killed", () => {
  testWith(["root"], "leaves no cgroup and no keeper", async () => {
    const dir = bench.layer();
    const plan = bench.plan(["/bin/sh", "-c", "echo started; sleep 100"], {
      limits: limits({ memoryBytes: 64 << 20, cpus: 1 }),
    });
    const program = await bundleProgram(
      dir,
      `import { openSandbox } from "./src/runtime/index.js";
       const sandbox = openSandbox(${JSON.stringify({ childPath, scratchDir: dir, userNamespace: false })});
       await sandbox.run(${JSON.stringify(plan)}, {
         signal: new AbortController().signal,
         onOutput: (_, chunk) => void process.stdout.write(chunk),
       });`,
    );
    const child = spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const pid = child.pid ?? 0;
    expect(left(pid).length).toBeGreaterThan(1);
    const ended = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    // The pipe comes to its end: nobody else held our stdio.
    await ended;
    await expect.poll(() => left(pid), { timeout: 10_000 }).toEqual([]);
    const keepers = (): readonly string[] =>
      readdirSync("/proc").filter((name) => {
        try {
          return (
            /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, "utf8").includes(`cooper-${pid}-`)
          );
        } catch {
          return false;
        }
      });
    await expect.poll(keepers, { timeout: 10_000 }).toEqual([]);
  });
});

test("limits need no cgroup where there are none", async () => {
  const none = limits({ pids: { limit: 0, asked: true } });
  expect((await bench.sh("true", { limits: none })).status).toEqual({ kind: "exited", code: 0 });
});
