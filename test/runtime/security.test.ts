import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  DEFAULT_CAPABILITIES,
  DEFAULT_LIMITS,
  DEFAULT_SECURITY,
  checkedUlimits,
  mergeCapabilities,
  ownCapabilities,
} from "../../src/runtime/index.js";
import type { Ulimit } from "../../src/runtime/index.js";
import { ownUlimits } from "../../src/runtime/ulimits.js";
import type { Bench } from "./support.js";
import { openBench, syscallProgram, testX64 } from "./support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("mergeCapabilities", () => {
  const without = (...names: readonly string[]): readonly string[] =>
    DEFAULT_CAPABILITIES.filter((name) => !names.includes(name)).toSorted();

  test.each([
    [[], ["chown", "CAP_kill"], without("CAP_CHOWN", "CAP_KILL")],
    [["sys_ptrace"], [], [...DEFAULT_CAPABILITIES, "CAP_SYS_PTRACE"].toSorted()],
    [["NET_RAW", "CAP_CHOWN"], ["all"], ["CAP_CHOWN", "CAP_NET_RAW"]],
    [["CHOWN"], [], without()],
    [[], ["ALL"], []],
    [[], ["SYS_ADMIN"], without()],
  ])("add %j, drop %j", (adds, drops, expected) => {
    expect(mergeCapabilities(adds, drops).toSorted()).toEqual(expected);
  });

  test("ALL is what cooper has, less what is dropped", () => {
    const own = ownCapabilities();
    expect(mergeCapabilities(["All"], ["sys_admin"], own)).toEqual(
      own.filter((name) => name !== "CAP_SYS_ADMIN"),
    );
  });

  test.each([
    [["CHOWN"], ["CAP_CHOWN"], "the capability CAP_CHOWN cannot be added and dropped at once"],
    [["ALL"], ["ALL"], "the capability ALL cannot be added and dropped at once"],
    [["CHWON"], [], 'unknown capability "CHWON"'],
    [[""], [], 'unknown capability ""'],
    [["SYS_TIME"], [], "cannot add CAP_SYS_TIME: cooper itself does not have it here"],
  ])("add %j, drop %j is refused", (adds, drops, message) => {
    expect(() => mergeCapabilities(adds, drops, DEFAULT_CAPABILITIES)).toThrow(message);
  });
});

describe("checkedUlimits", () => {
  const own = ownUlimits();
  const mine = (name: string): Ulimit => own.find((limit) => limit.name === name) as Ulimit;

  test("are read as the shell says them", async () => {
    const { execFileSync } = await import("node:child_process");
    const said = execFileSync("sh", ["-c", "ulimit -Hn; ulimit -Hc; ulimit -Ht"], { encoding: "utf8" });
    const told = ["nofile", "core", "cpu"].map((name) => mine(name).hard);
    expect(said.trim().split("\n")).toEqual(told.map((hard) => (hard === -1 ? "unlimited" : String(hard))));
  });

  test("host is all of them, and what comes after it counts", () => {
    const asked = { name: "nofile", soft: 64, hard: 128 };
    expect(checkedUlimits(["host", asked])).toEqual(
      own.map((limit) => (limit.name === "nofile" ? asked : limit)),
    );
  });

  test.each([
    [{ name: "files", soft: 1, hard: 1 }, 'unknown limit "files"'],
    [{ name: "core", soft: 2, hard: 1 }, "the limit core: soft 2 is above hard 1"],
    [{ name: "nofile", soft: -1, hard: 1 }, "soft unlimited is above hard 1"],
    [{ name: "nofile", soft: 1, hard: -2 }, "the limit nofile cannot be -2"],
    [{ name: "nofile", soft: 1, hard: mine("nofile").hard + 1 }, "cooper's own hard limit is"],
    [{ name: "nofile", soft: 1, hard: -1 }, "the limit nofile=unlimited cannot be had"],
  ])("%j is refused", (limit, message) => {
    expect(() => checkedUlimits([limit])).toThrow(message);
  });
});

describe("the kernel applies them", () => {
  test("capabilities, for root and for nobody", async () => {
    const capabilities = mergeCapabilities(["SYS_PTRACE"], ["CHOWN"], ownCapabilities());
    const security = { ...DEFAULT_SECURITY, capabilities };
    const read = "grep ^Cap /proc/self/status | cut -f2 | tr '\\n' ' '";
    const mask = "00000000800c05fa";
    expect((await bench.sh(read, { security })).stdout).toBe(
      `0000000000000000 ${mask} ${mask} ${mask} 0000000000000000 `,
    );
    expect((await bench.sh(`${read}; chown 33 /tmp`, { security })).stderr).toContain("not permitted");
  });

  test("no_new_privs and the filter, each on and off", async () => {
    const read = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2 | tr -d '\\n'";
    const told = async (changes: Partial<typeof DEFAULT_SECURITY>): Promise<string> =>
      (await bench.sh(read, { security: { ...DEFAULT_SECURITY, ...changes } })).stdout;
    expect(await told({})).toBe("02");
    expect(await told({ noNewPrivileges: true })).toBe("12");
    expect(await told({ seccomp: { kind: "unconfined" } })).toBe("00");
  });

  testX64("what the filter closes is open without it", async () => {
    const { writeFileSync } = await import("node:fs");
    const layer = bench.layer();
    // keyctl(KEYCTL_GET_KEYRING_ID, -1): the answer is a key, or that there is none, but not EPERM.
    writeFileSync(`${layer}/call`, syscallProgram(250, [0, -1]), { mode: 0o755 });
    const lowerDirs = [layer, bench.base];
    const security = { ...DEFAULT_SECURITY, seccomp: { kind: "unconfined" } as const };
    expect((await bench.run(["/call"], { lowerDirs })).status).toMatchObject({ code: 1 });
    expect((await bench.run(["/call"], { lowerDirs, security })).status).not.toMatchObject({ code: 1 });
  });

  test("open kernel files", async () => {
    const security = { ...DEFAULT_SECURITY, kernelFiles: "open" } as const;
    const script =
      "grep -c ' /proc/[a-z]' /proc/self/mountinfo; grep -E ' /(sys|proc) ' /proc/self/mountinfo | cut -d' ' -f6";
    expect((await bench.sh(script, { security })).stdout).toBe(
      "0\nrw,nosuid,nodev,noexec,relatime\nrw,nosuid,nodev,noexec,relatime\n",
    );
    // Writing what it holds changes nothing.
    const write =
      "cat /proc/sys/vm/overcommit_memory > /tmp/x && cat /tmp/x > /proc/sys/vm/overcommit_memory";
    expect((await bench.sh(write, { security })).status).toEqual({ kind: "exited", code: 0 });
    expect((await bench.sh(write)).stderr).toContain("Read-only file system");
  });

  test("limits, soft and hard, and those that were not asked for stay", async () => {
    const ulimits = checkedUlimits([
      { name: "nofile", soft: 64, hard: 128 },
      { name: "cpu", soft: 100, hard: 200 },
      { name: "stack", soft: 1 << 20, hard: 1 << 21 },
    ]);
    const { stdout } = await bench.run(["cat", "/proc/self/limits"], {
      limits: { ...DEFAULT_LIMITS, ulimits },
    });
    expect(stdout).toMatch(/^Max open files +64 +128 /m);
    expect(stdout).toMatch(/^Max cpu time +100 +200 /m);
    expect(stdout).toMatch(/^Max stack size +1048576 +2097152 /m);
    const own = readFileSync("/proc/self/limits", "utf8");
    const fileSize = /^Max file size.*$/m;
    expect(fileSize.exec(stdout)?.[0]).toBe(fileSize.exec(own)?.[0]);
  });

  test.each([
    [1 << 20, "1024"],
    [0, "0"],
  ])("/dev/shm of %i bytes", async (shmBytes, blocks) => {
    const { stdout } = await bench.sh("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", {
      limits: { ...DEFAULT_LIMITS, shmBytes },
    });
    expect(stdout.trim()).toBe(blocks);
  });
});
