import { expect, test } from "vitest";
import { openBench } from "../runtime/support.js";
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
