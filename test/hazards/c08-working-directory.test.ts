import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bench } from "../runtime/support.js";
import { openBench } from "../runtime/support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

/** A directory of the host, and how a process would climb to it from any other one of the host. */
function canary(): { readonly dir: string; readonly climb: string } {
  const dir = join(bench.dir, "canary");
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "secret"), "host secret\n");
  return { dir, climb: `../../../../../../../..${dir}/secret` };
}

test.each(["/proc/self/fd", "/proc/1/fd", "/dev/fd"])(
  "C08: no descriptor of the host becomes the working directory through %s",
  async (place) => {
    const { climb } = canary();
    for (let fd = 0; fd < 256; fd += 1) {
      const run = bench.sh(`cat ${climb} /proc/self/cwd/${climb}`, { cwd: `${place}/${fd}` });
      const outcome = await run.then(
        ({ stdout }) => stdout,
        (error: Error) => error.message,
      );
      expect(outcome).not.toContain("host secret");
    }
  },
);

test("C08: links of the image lead the working directory inside, never to the host", async () => {
  const { dir } = canary();
  const layer = bench.layer();
  symlinkSync(dir, join(layer, "out"));
  symlinkSync("../../../../../../../../..", join(layer, "up"));
  const lowerDirs = [layer, bench.base];
  const { stdout, upper } = await bench.sh("pwd; ls", { lowerDirs, cwd: "/out" });
  expect(stdout).toBe(`${dir}\n`);
  expect(upper.at(-1)).toBe(dir.slice(1));
  expect((await bench.sh("pwd; cat secret", { lowerDirs, cwd: "/up" })).stdout).toBe("/\n");
  symlinkSync("loop", join(layer, "loop"));
  await expect(bench.sh("pwd", { lowerDirs, cwd: "/loop" })).rejects.toThrow(/ELOOP/);
  expect(readdirSync(dir)).toEqual(["secret"]);
});
