import { expect, test } from "vitest";
import { openBench } from "../runtime/support.js";

test.each([0, 33])(
  "C18: nothing is inheritable or ambient, and the bounding set is the documented one, for uid %i",
  async (uid) => {
    await using bench = openBench();
    const { stdout } = await bench.sh("grep -E '^Cap(Inh|Amb|Bnd)' /proc/self/status", { uid, gid: uid });
    expect(stdout).toBe("CapInh:\t0000000000000000\nCapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n");
  },
);
