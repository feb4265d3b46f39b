import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hexOf } from "../../src/image/index.js";
import { checkStore } from "../../src/store/index.js";
import { bundle } from "./bundle.js";
import { addLayer, newImage, openTestStore, scratchDirectory } from "./support.js";

let dir: string;
let child: string;
beforeAll(async () => {
  dir = scratchDirectory();
  child = await bundle("crash-child", dir);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Runs the child, killed just before the `k`-th of a system call; its signal and what it said. */
function runKilled(root: string, job: string, rounds: string, call: string, k: number) {
  const inject = `${call}:signal=KILL:when=${k}`;
  const trace = ["-f", "-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${inject}`];
  const args = [...trace, process.execPath, child, root, job, rounds];
  const { status, signal, stdout, stderr } = spawnSync("strace", args, { encoding: "utf8" });
  const killed = signal === "SIGKILL" || status === 137;
  if (!killed && status !== 0) throw new Error(`the child failed: ${stderr}`);
  return { killed, said: stdout.split("\n").filter((line) => line !== "") };
}

/** What must hold whatever happened: the oracle of hazards F01 and F03. */
async function expectSound(root: string, said: readonly string[], where: string): Promise<void> {
  const store = openTestStore(root);
  expect(await checkStore(store), where).toEqual([]);
  for (const [name, id] of store.names()) expect(store.resolve(name).id, where).toBe(id);
  for (const line of said) {
    const [, name = "", id] = /^tagged (\S+) (\S+)/.exec(line) ?? [];
    if (id !== undefined && !said.includes("removed")) expect(store.resolve(name).id, where).toBe(id);
  }
  // The next one who writes clears away what the dead one left.
  await addLayer(store, "after the crash");
  await store[Symbol.asyncDispose]();
  expect(readdirSync(join(root, "tmp")), where).toEqual([]);
  expect(
    readdirSync(join(root, "locks")).filter((name) => name !== "ballast"),
    where,
  ).toEqual([]);
}

describe("F03: a process killed before the K-th call of a kind leaves a sound store", () => {
  test.each([
    ["rename", "2"],
    ["fsync", "1"],
    ["unlink", "1"],
    ["mkdir", "1"],
    ["rmdir", "1"],
  ])(
    "%s, while it builds",
    async (call, rounds) => {
      let k = 1;
      for (; ; k += 1) {
        const root = join(dir, `build-${call}-${k}`);
        const { killed, said } = runKilled(root, "build", rounds, call, k);
        if (!killed) break;
        if (existsSync(join(root, "format.json"))) await expectSound(root, said, `${call} ${k}`);
        // Done again, it succeeds; on the odd ones, to save time.
        if (k % 2 === 1) {
          const again = spawnSync(process.execPath, [child, root, "build", rounds], { encoding: "utf8" });
          expect(again.stderr, `${call} ${k}`).toBe("");
          await expectSound(root, again.stdout.split("\n"), `${call} ${k}, again`);
        }
        rmSync(root, { recursive: true, force: true });
      }
      expect(k).toBeGreaterThan(call === "rmdir" ? 1 : 3);
    },
    600_000,
  );

  test.each(["rename", "unlink", "rmdir"])(
    "%s, while it removes",
    async (call) => {
      const full = join(dir, `full-${call}`);
      spawnSync(process.execPath, [child, full, "build"]);
      let k = 1;
      for (; ; k += 1) {
        const root = join(dir, `remove-${call}-${k}`);
        cpSync(full, root, { recursive: true });
        const { killed } = runKilled(root, "remove", "0", call, k);
        if (!killed) break;
        await expectSound(root, [], `${call} ${k}`);
        const store = openTestStore(root);
        const junk = store.addImage(newImage([], ["junk"]));
        const names = [...store.names().keys()];
        await store.remove([...names, hexOf(junk.id)], { force: true });
        await store[Symbol.asyncDispose]();
        expect(readdirSync(join(root, "tmp")), `${call} ${k}`).toEqual([]);
        rmSync(root, { recursive: true });
      }
      expect(k).toBeGreaterThan(2);
    },
    600_000,
  );
});

describe("F01: killed at any time", () => {
  test("a store that many builds and removals were killed in is sound", async () => {
    const root = join(dir, "random");
    const seeds = [13, 57, 91, 120, 144, 170, 199, 230, 280, 350];
    for (const ms of seeds) {
      const job = ms % 2 === 0 ? "remove" : "build";
      spawnSync(process.execPath, [child, root, job], { timeout: ms + 60, killSignal: "SIGKILL" });
    }
    await expectSound(root, [], "random");
  });
});
