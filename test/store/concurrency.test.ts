import { spawn } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkStore } from "../../src/store/index.js";
import { bundle } from "./bundle.js";
import { openTestStore, scratchDirectory } from "./support.js";

let dir: string;
let root: string;
let child: string;
beforeEach(async () => {
  dir = scratchDirectory();
  root = join(dir, "store");
  child = await bundle("crash-child", dir);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Ending {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(job: string): Promise<Ending> {
  const running = spawn(process.execPath, [child, root, job], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  running.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  running.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve) => running.once("close", (status) => resolve({ status, stdout, stderr })));
}

describe("several processes at one store", () => {
  test("K1: that do the same at once all succeed, and agree", async () => {
    const endings = await Promise.all(Array.from({ length: 8 }, () => run("build")));
    expect(endings.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
      endings.map(() => ({ status: 0, stderr: "" })),
    );
    expect(new Set(endings.map(({ stdout }) => stdout)).size).toBe(1);
    const store = openTestStore(root);
    expect(await checkStore(store)).toEqual([]);
    expect([...store.names().keys()]).toEqual(["localhost/app:1", "localhost/app:2", "localhost/app:latest"]);
    await store[Symbol.asyncDispose]();
    expect([readdirSync(join(root, "tmp")), readdirSync(join(root, "locks"))]).toEqual([[], ["ballast"]]);
  });

  test("K2: builds and removals at once never take away what a build uses", async () => {
    const endings = await Promise.all(["soak", "soak", "soak", "prune", "prune"].map(run));
    expect(endings.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
      endings.map(() => ({ status: 0, stderr: "" })),
    );
    for (const { stdout } of endings) expect(stdout.split("\n").length).toBeGreaterThan(2);
    const store = openTestStore(root);
    expect(await checkStore(store)).toEqual([]);
    for (const [name, id] of store.names()) expect(store.resolve(name).id).toBe(id);
    await store[Symbol.asyncDispose]();
    expect([readdirSync(join(root, "tmp")), readdirSync(join(root, "locks"))]).toEqual([[], ["ballast"]]);
  });

  test("K3: that take the ballast and drop it do not trip over one another", async () => {
    const endings = await Promise.all(Array.from({ length: 4 }, () => run("ballast")));
    expect(endings).toEqual(endings.map(() => ({ status: 0, stdout: "", stderr: "" })));
  });
});
