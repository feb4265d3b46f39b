import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { CAPABILITIES, DEFAULT_CAPABILITIES } from "../../src/runtime/index.js";
import type { SandboxRootfs } from "../../src/runtime/index.js";
import { bundleProgram, childPath, openBench, withCapabilities } from "../runtime/support.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";

test.each([0, 33])(
  "C18: nothing is inheritable or ambient, and the bounding set is the documented one, for uid %i",
  async (uid) => {
    await using bench = openBench();
    const { stdout } = await bench.sh("grep -E '^Cap(Inh|Amb|Bnd)' /proc/self/status", { uid, gid: uid });
    expect(stdout).toBe("CapInh:\t0000000000000000\nCapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n");
  },
);

test("C18: neither in RUN nor in run, whatever cooper itself has", async () => {
  await using lab = await openLab();
  await loadBase(lab, []);
  const none = "CapInh:\t0000000000000000\nCapPrm:\t00000000800405fb\nCapEff:\t00000000800405fb\n";
  const all = `${none}CapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n`;
  const command = ["grep", "^Cap", "/proc/self/status"];
  expect((await lab.build(`FROM ${HOSTILE}\nRUN ${command.join(" ")}\n`)).output).toBe(all);
  expect((await runIn(lab, HOSTILE, command)).output).toBe(all);
  expect((await runIn(lab, HOSTILE, command, { user: "33" })).output).toContain(
    "CapEff:\t0000000000000000\n",
  );
});

test.each([
  ["what it was asked to take, for another user", "openSandbox", DEFAULT_CAPABILITIES, 33],
  ["what it was asked to take, for root", "openSandbox", ["CAP_CHOWN"], 0],
  ["the right to leave the root", "openChrootSandbox", DEFAULT_CAPABILITIES, 33],
] as const)(
  "C18: where nothing can be taken from the bounding set, nothing is started with %s (%s)",
  async (_what, open, capabilities, uid) => {
    const { stdout, stderr } = await runWithout("setpcap", open, { capabilities, uid });
    expect([stdout, stderr]).toEqual(["", expect.stringMatching(/cannot drop capabilities: .*\(EPERM\)/)]);
  },
);

test("C18: where nothing has to be taken from the bounding set, nothing is refused", async () => {
  const kept = CAPABILITIES.filter((name) => name !== "CAP_SETPCAP");
  const { stdout, stderr } = await runWithout("setpcap", "openSandbox", { capabilities: kept, uid: 33 });
  expect([stdout, stderr]).toEqual([expect.stringMatching(/^CapBnd:\t[0-9a-f]+\nran\n$/), ""]);
});

/** Has a process that lacks a right run a command; what it wrote, and the driver's error. */
async function runWithout(
  right: string,
  open: "openSandbox" | "openChrootSandbox",
  { capabilities, uid }: { readonly capabilities: readonly string[]; readonly uid: number },
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  await using bench = openBench();
  const plan = bench.plan(["/bin/sh", "-c", "grep ^CapBnd /proc/self/status 2>/dev/null; echo ran"], {
    security: withCapabilities(...capabilities),
    network: "host",
    uid,
    gid: uid,
    ...(open === "openSandbox" ? {} : { rootfs: directory(bench.base) }),
  });
  const options = { childPath, scratchDir: bench.dir, userNamespace: false };
  const program = await bundleProgram(
    bench.dir,
    `import { ${open} } from "./src/runtime/index.js";
    await using sandbox = ${open}(${JSON.stringify(options)});
    const plan = ${JSON.stringify(plan)};
    plan.rootfs.restored = () => undefined;
    const onOutput = (_, chunk) => process.stdout.write(chunk);
    const running = sandbox.run(plan, { signal: new AbortController().signal, onOutput });
    await running.catch((error) => console.error(error.message));`,
  );
  const argv = [`--bounding-set=-${right}`, process.execPath, program];
  return spawnSync("setpriv", argv, { encoding: "utf8", timeout: 60_000 });
}

const directory = (dir: string): SandboxRootfs => ({ kind: "directory", dir, restored: () => undefined });
