import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openBench } from "../runtime/support.js";

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
