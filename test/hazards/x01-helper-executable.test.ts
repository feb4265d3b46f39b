import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bench } from "../runtime/support.js";
import { openBench } from "../runtime/support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

/**
 * The image's command has /proc/self/exe as its interpreter, which is the helper's executable at that moment: node starts
 * inside, with the host's libraries lent to it. Opening it with O_TRUNC asks the mount first, then whether it is running,
 * so ETXTBSY would mean that only luck protects it.
 */
test("X01: an image that makes the helper's executable its interpreter cannot write it", async () => {
  const layer = bench.layer();
  const script =
    "try { require('fs').openSync('/proc/self/exe', 'w'); console.log('OPENED'); } catch (error) { console.log(error.code); }";
  writeFileSync(join(layer, "trap"), `#!/proc/self/exe\n${script}\n`, { mode: 0o755 });
  const mounts = ["/lib", "/lib64", "/usr/lib"]
    .filter((path) => existsSync(path))
    .map((path) => ({ type: "bind", source: realpathSync(path), target: path, readOnly: true }) as const);
  const { stdout } = await bench.run(["/trap"], { lowerDirs: [layer, bench.base], mounts });
  expect(stdout).toBe("EROFS\n");
});

test("X01: the executable lies on a read-only mount", async () => {
  bench.sandbox.prewarm("none");
  await bench.sh("true");
  const helpers = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
  const nodes = helpers
    .flatMap((pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" "))
    .filter((pid) => pid !== "");
  const mine = nodes.filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("sandbox-child.cjs"),
  );
  expect(mine.length).toBeGreaterThan(0);
  for (const pid of mine) {
    const line = readFileSync(`/proc/${pid}/mountinfo`, "utf8")
      .split("\n")
      .find((each) => each.split(" ")[4] === process.execPath);
    expect(line?.split(" ")[5]?.split(",")).toContain("ro");
  }
});
