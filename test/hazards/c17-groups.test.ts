import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openBench } from "../runtime/support.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";

test("C17: the primary group is one of the groups, so that a file may exclude it; C15: ids are exact", async () => {
  await using bench = openBench();
  const layer = bench.layer();
  writeFileSync(join(layer, "not-for-1000"), "secret\n");
  chownSync(join(layer, "not-for-1000"), 0, 1000);
  chmodSync(join(layer, "not-for-1000"), 0o707);
  const { stdout, stderr } = await bench.sh("id -u; id -G; cat /not-for-1000", {
    lowerDirs: [layer, bench.base],
    uid: 2 ** 31,
    gid: 1000,
  });
  expect(stdout).toBe("2147483648\n1000\n");
  expect(stderr).toMatch(/Permission denied/);
});

test("C17: so it is for USER in RUN and for --user", async () => {
  await using lab = await openLab();
  await loadBase(lab, [{ name: "not-for-1000", content: "secret", gid: 1000, mode: 0o707 }]);
  // The list itself: `id` would show the primary group without it, and a setgid program has another one.
  const script = "grep ^Groups /proc/self/status; cat /not-for-1000";
  const { output } = await lab.build(`FROM ${HOSTILE}\nUSER 1000:1000\nRUN ${script}; true\n`);
  const run = await runIn(lab, HOSTILE, ["sh", "-c", script], { user: "1000:1000" });
  for (const text of [output, run.output]) {
    expect(text).toMatch(/^Groups:\t1000 ?\n/);
    expect(text).toContain("Permission denied");
    expect(text).not.toContain("secret");
  }
});
