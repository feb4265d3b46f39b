import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { privateNetwork } from "../../src/runtime/index.js";
import type { NetworkOutcome } from "../../src/runtime/index.js";
import { describeWith } from "../support/packages.js";
import { bundleProgram, openBench } from "./support.js";

/** Processes of this machine in another network namespace than ours, or that forward one. */
function others(): ReadonlySet<string> {
  const mine = readlinkSync("/proc/self/ns/net");
  const found = readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "latin1");
      return readlinkSync(`/proc/${pid}/ns/net`) !== mine || /^(?:slirp4netns|pasta)\0/.test(command);
    } catch {
      return false;
    }
  });
  return new Set(found);
}

async function until(condition: () => boolean, seconds = 20): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describeWith(["root", "slirp4netns", "pasta", "tun"], "a private network", () => {
  let dir: string;
  let program: string;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "cooper-network-"));
    program = await bundleProgram(
      dir,
      `import { privateNetwork } from "./src/runtime/index.js";
      const network = privateNetwork();
      const opening = network.open();
      process.stdout.write("begun\\n");
      const outcome = await opening;
      process.stdout.write(JSON.stringify({ ...outcome, pid: process.pid }) + "\\n");
      if (process.argv[2] === "stay") await new Promise((resolve) => process.stdin.on("end", resolve).resume());
      await network[Symbol.asyncDispose]();`,
    );
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** What `open` answers where a shell script was run first, in a mount namespace of its own. */
  function outcomeAfter(script: string): NetworkOutcome {
    const text = execFileSync(
      "unshare",
      ["--mount", "sh", "-ec", `${script}\nexec "$0" "$1"`, process.execPath, program],
      { encoding: "utf8" },
    );
    return JSON.parse(text.trim().split("\n").at(-1) ?? "") as NetworkOutcome;
  }
  const without = (name: string): string =>
    `mount --bind /dev/null "$(readlink -f "$(command -v ${name})")"\n`;

  test("is one namespace for all who get it, and another for everybody else", async () => {
    await using bench = openBench();
    await using network = privateNetwork();
    const outcome = await network.open();
    if (outcome.kind !== "private") throw new Error(outcome.reason);
    expect(await network.open()).toBe(outcome);
    const own = { network: "private", networkNamespace: outcome.namespace } as const;
    const server = bench.sh("echo hello | nc -l -p 7777", own);
    const client = "for i in $(seq 100); do nc 127.0.0.1 7777 </dev/null && exit; sleep 0.05; done; exit 1";
    expect((await bench.sh(client, own)).stdout).toBe("hello\n");
    await server;
    expect((await bench.sh("ls /sys/class/net; cat /proc/net/dev")).stdout).not.toContain("tap0");
  });

  test("is gone when it is closed, however early", async () => {
    for (const delay of [undefined, 0, 3, 10, 30]) {
      const before = others();
      const network = privateNetwork();
      const opening = network.open();
      if (delay === undefined) await opening;
      else await new Promise((resolve) => setTimeout(resolve, delay));
      await network[Symbol.asyncDispose]();
      const left = [...others()].filter((pid) => !before.has(pid) && childOf(pid, process.pid));
      expect(left).toEqual([]);
    }
  });

  test("is gone when its maker is killed, at any moment", async () => {
    for (let at = 0; at < 30; at += 1) {
      const child = spawn(process.execPath, [program, "stay"], { stdio: ["pipe", "pipe", "inherit"] });
      await new Promise((resolve) => child.stdout.once("data", resolve));
      await new Promise((resolve) => setTimeout(resolve, at * 3));
      const family = descendants(child.pid ?? 0);
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("close", resolve));
      await until(() => !family.some(isRunning));
    }
    await until(() => orphans() === 0);
  });

  test("is made by pasta where slirp4netns is not installed", () => {
    const outcome = outcomeAfter(without("slirp4netns"));
    expect(outcome).toMatchObject({ kind: "private", nameserver: "10.0.2.3", reachesHost: false });
  });

  /** Mount points before and after, where every mount is shared with others, as on a machine that systemd has started. */
  function mountsAround(script: string): readonly string[] {
    const place = `${dir}/shared`;
    const mounts = `mkdir -p ${place}; mount -t tmpfs none ${place}; mkdir ${place}/a; mount -t tmpfs none ${place}/a`;
    const list = "cut -d' ' -f5 /proc/self/mountinfo";
    const work = `mount --make-rshared /\n${script}${list}; echo; "$0" "$1" >/dev/null; ${list}`;
    return execFileSync(
      "unshare",
      ["--mount", "--propagation", "private", "sh", "-ec", `${mounts}; ${work}`, process.execPath, program],
      { encoding: "utf8" },
    ).split("\n\n");
  }

  test("unmounts nothing of the machine", () => {
    for (const script of ["", without("slirp4netns")]) {
      const [before, after] = mountsAround(script);
      expect(after?.trim()).toBe(before);
      expect(before).toContain(`${dir}/shared/a`);
    }
  });

  test("is not there, with the reason, where something is missing", () => {
    expect(outcomeAfter(without("slirp4netns") + without("pasta"))).toMatchObject({
      kind: "host",
      reason: "neither slirp4netns nor pasta is installed",
    });
    expect(outcomeAfter("mount -t tmpfs none /dev/net")).toMatchObject({
      kind: "host",
      reason: "there is no /dev/net/tun",
    });
    expect(
      outcomeAfter("mount --bind /dev/kmsg /dev/net/tun; mount -o bind,remount,nodev /dev/net/tun"),
    ).toMatchObject({
      kind: "host",
      reason: "/dev/net/tun cannot be opened (EACCES)",
    });
    // Something that is no tunnel: both programs fail.
    const { kind, ...why } = outcomeAfter("mount --bind /dev/null /dev/net/tun");
    expect(kind).toBe("host");
    expect(JSON.stringify(why)).toMatch(/slirp4netns: .*; pasta: /);
  });
});

function childOf(pid: string, parent: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8").includes(`\nPPid:\t${parent}\n`);
  } catch {
    return false;
  }
}

/** False for a zombie, too, that a sluggish process 1 has not buried yet. */
function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

function descendants(pid: number): readonly number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter(Boolean)
      .map(Number);
    return children.flatMap((child) => [child, ...descendants(child)]);
  } catch {
    return [];
  }
}

/** Processes that nobody waits for and that were to serve a network of ours. */
function orphans(): number {
  return [...others()].filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "latin1");
      return childOf(pid, 1) && /^(?:cat|slirp4netns|pasta|unshare|setpriv|sh)\0/.test(command);
    } catch {
      return false;
    }
  }).length;
}
