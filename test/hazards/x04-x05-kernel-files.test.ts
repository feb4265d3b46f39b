import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bench } from "../runtime/support.js";
import { openBench } from "../runtime/support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

test("X05: the kernel's settings and triggers cannot be written", async () => {
  const paths = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
  ];
  const { stdout, stderr } = await bench.sh(
    `for f in ${paths.join(" ")}; do test -e $f && { (echo 0 > $f) && echo WROTE $f; }; done`,
  );
  expect(stdout).toBe("");
  expect(stderr.trim().split("\n").length).toBeGreaterThanOrEqual(2);
  for (const line of stderr.trim().split("\n"))
    expect(line).toMatch(/Read-only file system|Permission denied/);
});

test("X05: what the kernel would tell is empty", async () => {
  const files = ["kcore", "keys", "timer_list", "interrupts", "sched_debug", "latency_stats"].map(
    (name) => `/proc/${name}`,
  );
  const { stdout } = await bench.sh(
    `cat ${files.join(" ")} 2>/dev/null | wc -c; ls /sys/firmware /sys/fs/cgroup /proc/acpi /proc/scsi 2>/dev/null | grep -v : | wc -w`,
  );
  expect(stdout).toBe("0\n0\n");
});

test("X04: no cgroup can be mounted or written", async () => {
  const { stdout } = await bench.sh(
    "mkdir /cg; mount -t cgroup -o memory none /cg 2>/dev/null && echo MOUNTED; mount -t cgroup2 none /cg 2>/dev/null && echo MOUNTED; find /sys -name release_agent",
  );
  expect(stdout).toBe("");
});

test("X07: an abstract socket of the host is out of reach without the host's network", async () => {
  const { createServer } = await import("node:net");
  const name = `\0cooper-canary-${process.pid}`;
  const server = createServer((socket) => socket.end("reached"));
  await new Promise<void>((resolve) => server.listen(name, resolve));
  try {
    const { stdout } = await bench.sh("cat /proc/net/unix | grep -c cooper-canary");
    expect(stdout).toBe("0\n");
  } finally {
    server.close();
  }
});
