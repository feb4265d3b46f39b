import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeSyscalls } from "../../src/runtime/index.js";
import type { SandboxMount } from "../../src/runtime/index.js";
import type { Bench } from "../runtime/support.js";
import { exited, openBench } from "../runtime/support.js";
import { openCanary } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";

let bench: Bench;
let canary: string;
beforeAll(() => {
  bench = openBench();
  canary = join(bench.dir, "canary");
  mkdirSync(canary);
  for (const name of ["secret", "victim", "null", "hosts"])
    writeFileSync(join(canary, name), `host ${name}\n`);
});
afterAll(() => bench[Symbol.asyncDispose]());

function untouched(): void {
  expect(readdirSync(canary).toSorted()).toEqual(["hosts", "null", "secret", "victim"]);
  for (const name of ["secret", "victim", "null", "hosts"])
    expect(readFileSync(join(canary, name), "utf8")).toBe(`host ${name}\n`);
}

function networkMounts(): readonly SandboxMount[] {
  return ["hosts", "resolv.conf", "hostname"].map((name) => {
    const source = join(bench.dir, `our-${name}`);
    writeFileSync(source, `our ${name}\n`);
    return { type: "bind", source, target: `/etc/${name}`, readOnly: true };
  });
}

const CHECK =
  "ls -d /dev /proc /sys; test -c /dev/null && echo null; test -e /proc/1/stat && echo proc; echo x > /dev/null; head -c1 /proc/kcore | wc -c";
const SOUND = "/dev\n/proc\n/sys\nnull\nproc\n0\n";

describe("C09: the image's own /dev, /proc and /sys are never used", () => {
  test.each(["dev", "proc", "sys"])("/%s is a link to the host's path", async (name) => {
    const layer = bench.layer();
    symlinkSync(canary, join(layer, name));
    const { stdout } = await bench.sh(CHECK, { lowerDirs: [layer, bench.base], mounts: networkMounts() });
    expect(stdout).toBe(SOUND);
    untouched();
  });

  test.each(["dev", "proc", "sys"])("/%s is a file, or deleted", async (name) => {
    const file = bench.layer();
    writeFileSync(join(file, name), "");
    expect((await bench.sh(CHECK, { lowerDirs: [file, bench.base] })).stdout).toBe(SOUND);
    const [gone, there] = [bench.layer(), bench.layer()];
    mkdirSync(join(there, name));
    treeSyscalls().makeNode(join(gone, name), "char", 0, { major: 0, minor: 0 });
    const { stdout, upper } = await bench.sh(CHECK, { lowerDirs: [gone, there, bench.base] });
    expect([stdout, upper]).toEqual([SOUND, []]);
  });

  test("in a stack too high for stub layers a link is refused, a missing directory made and removed", async () => {
    const fill = Array.from({ length: 498 }, () => bench.layer());
    const layer = bench.layer();
    symlinkSync(canary, join(layer, "proc"));
    await expect(bench.sh(CHECK, { lowerDirs: [layer, ...fill, bench.base] })).rejects.toThrow(
      /cannot mount \/proc: openat proc: not a directory/,
    );
    const { stdout, upper } = await bench.sh(CHECK, { lowerDirs: [bench.layer(), ...fill, bench.base] });
    expect([stdout, upper]).toEqual([SOUND, []]);
    untouched();
  });

  test.each(["null", "console", "pts", "ptmx", "shm", "mqueue", "tty", "fd"])(
    "/dev/%s of the image is a link to the host's file",
    async (name) => {
      const layer = bench.layer();
      mkdirSync(join(layer, "dev"));
      symlinkSync(join(canary, "null"), join(layer, "dev", name));
      const { stdout } = await bench.sh(CHECK, { lowerDirs: [layer, bench.base] });
      expect(stdout).toBe(SOUND);
      untouched();
    },
  );

  test("hidden files stay hidden whatever the image's /dev/null is", async () => {
    const layer = bench.layer();
    mkdirSync(join(layer, "dev"));
    symlinkSync("/proc/sysrq-trigger", join(layer, "dev/null"));
    const { stdout } = await bench.sh("head -c1 /proc/keys | wc -c; head -c1 /proc/timer_list | wc -c", {
      lowerDirs: [layer, bench.base],
    });
    expect(stdout).toBe("0\n0\n");
  });
});

describe("C09: /etc of the image leads elsewhere", () => {
  test.each(["hosts", "resolv.conf", "hostname"])("/etc/%s is a link to the host's file", async (name) => {
    const layer = bench.layer();
    mkdirSync(join(layer, "etc"));
    symlinkSync(join(canary, "victim"), join(layer, "etc", name));
    const { status, stdout, upper } = await bench.sh(`cat /etc/${name}; echo x >> /etc/${name}; true`, {
      lowerDirs: [layer, bench.base],
      mounts: networkMounts(),
    });
    expect([status, stdout, upper]).toEqual([exited(0), `our ${name}\n`, []]);
    untouched();
  });

  test.each([
    ["an absolute link", "/canary-link"],
    ["a climbing link", "../../../../../.."],
  ])("/etc itself is %s", async (_name, kind) => {
    const layer = bench.layer();
    symlinkSync(kind.startsWith("..") ? `${kind}${canary}` : canary, join(layer, "etc"));
    const { status, stdout, upper } = await bench.sh("cat /etc/hosts", {
      lowerDirs: [layer, bench.base],
      mounts: networkMounts(),
    });
    expect([status, stdout, upper]).toEqual([exited(0), "our hosts\n", []]);
    untouched();
  });

  test("/etc is a file: an error, and nothing touched", async () => {
    const layer = bench.layer();
    writeFileSync(join(layer, "etc"), "");
    await expect(
      bench.sh("true", { lowerDirs: [layer, bench.base], mounts: networkMounts() }),
    ).rejects.toThrow(/cannot mount the step's files: .*not a directory \(ENOTDIR\)/);
    untouched();
  });
});

test("C09: a setup that is refused leaves a sandbox that still works", async () => {
  expect((await bench.sh("echo ok")).stdout).toBe("ok\n");
});

describe("C09: a base image whose directories lead out, in a real build and run", () => {
  test.each([
    "dev",
    "proc",
    "sys",
    "etc",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "dev/console",
    "dev/ptmx",
  ])("/%s", async (name) => {
    await using lab = await openLab();
    using host = openCanary(lab.dir);
    const linkName = name.includes(".conf") || name.includes("host") ? `${host.dir}/victim` : host.dir;
    await loadBase(lab, [{ name, type: "2", linkName }]);
    const script =
      "echo x >> /etc/resolv.conf; echo y > /etc/hosts; test -c /dev/null && test -e /proc/1/stat && echo sound";
    const outputs = [
      lab.build(`FROM ${HOSTILE}\nRUN ${script}; true\n`),
      runIn(lab, HOSTILE, ["sh", "-c", script]),
    ];
    for (const outcome of await Promise.all(outputs.map((work) => work.catch((error: Error) => error)))) {
      if (outcome instanceof Error) expect(outcome.name).toBe("CooperError");
      else expect(outcome.output).toContain("sound\n");
    }
    host.untouched();
  });
});
