import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { openCanary } from "../support/canary.js";
import { attemptThousand, openBench } from "../runtime/support.js";

/** Swaps `w.dir`/sel between a directory and a link to `w.host`, on the host itself, as fast as it can. */
const SWAP = `const fs = require("node:fs"); const { workerData: w, parentPort } = require("node:worker_threads");
  for (let swaps = 1; ; swaps += 1) { try { fs.rmSync(w.dir + "/sel", { recursive: true, force: true }); fs.symlinkSync(w.host, w.dir + "/sel");
  fs.unlinkSync(w.dir + "/sel"); fs.mkdirSync(w.dir + "/sel"); } catch {} if (swaps % 100 === 0) parentPort.postMessage(swaps); }`;

// There is no command that copies files into a container; mount points below a volume are the same class.
test("X16, C10: a mount point below a volume that is swapped all the while, 1,000 times: nothing of the host is mounted over or made", async () => {
  await using bench = openBench();
  using canary = openCanary(bench.dir);
  const [volume, source] = [bench.layer(), bench.layer()];
  mkdirSync(join(volume, "sel"));
  writeFileSync(join(source, "mine"), "mine");
  const worker = new Worker(SWAP, { eval: true, workerData: { dir: volume, host: canary.dir } });
  const mounts = [
    { type: "bind", source: volume, target: "/v", readOnly: false } as const,
    ...Array.from({ length: 10 }, (_, i) =>
      i % 2 === 0
        ? ({ type: "tmpfs", target: `/v/sel/held` } as const)
        : ({ type: "bind", source, target: `/v/sel/${i}`, readOnly: false } as const),
    ),
  ];
  try {
    await new Promise((resolve) => worker.once("message", resolve));
    const [ran, refused] = await attemptThousand(async () => {
      const { stdout } = await bench.sh("cat /v/sel/secret /v/sel/*/file; touch /v/sel/held/x; echo ran", {
        mounts,
      });
      expect(stdout).toBe("ran\n");
      expect(readdirSync(canary.dir).toSorted()).toEqual(["held", "secret", "victim"]);
    });
    expect(ran * 10).toBeGreaterThan(refused);
  } finally {
    await worker.terminate();
  }
  canary.untouched();
});

test("X16: a volume whose target is a link of the image out of it is mounted inside", async () => {
  await using bench = openBench();
  using canary = openCanary(bench.dir);
  const [source, layer] = [bench.layer(), bench.layer()];
  writeFileSync(join(source, "mine"), "mine");
  symlinkSync(canary.dir, join(layer, "out"));
  symlinkSync(canary.climb, join(layer, "climb"));
  for (const target of ["/out", "/out/held", "/climb", "/climb/held/deeper"]) {
    const { stdout } = await bench.sh(`cat ${target}/mine; touch ${target}/made`, {
      lowerDirs: [layer, bench.base],
      mounts: [{ type: "bind", source, target, readOnly: false }],
    });
    expect(stdout).toBe("mine");
  }
  canary.untouched();
});
