import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { stateOf } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { problemsOf } from "../support/store-problems.js";

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
  await loadBase(lab, [
    { name: "etc/passwd", content: "root:x:0:0::/:\n" },
    { name: "d/file", content: "lower" },
    { name: "d/hard", type: "1", linkName: "d/file" },
    { name: "d/fifo", type: "6" },
  ]);
});
afterEach(() => lab[Symbol.asyncDispose]());

const layersOf = (its: Lab): readonly string[] =>
  stateOf(join(its.cooper.root, "layers")).filter((line) => / \d+ /.test(line) && line.includes("/"));

/** Whatever a command can do to the files that it sees. */
const ATTACK = [
  "for f in /bin/busybox /d/file /d/hard /etc/passwd; do echo x >> $f; chmod 777 $f; chown 5:6 $f; done",
  "mount -o remount,rw /; mount --bind /d /tmp; ln /d/file /d/again; truncate -s 0 /d/hard",
  "dd if=/dev/zero of=/d/file bs=1 count=1 conv=notrunc; touch -d 1970-01-02 /d /d/file; mv /d /e",
  "ls /proc/self/root/../../.. /../../..; cat /proc/self/mountinfo; rm -rf /e /etc /tmp",
].map((line) => `RUN set +e; ${line}; true\n`);

test("X12: whatever a step does, no file of a layer below it changes, and the store is found whole", async () => {
  await lab.build(`FROM ${HOSTILE}\nRUN true\n`, { tags: ["tree"] });
  const before = layersOf(lab);
  expect(before.length).toBeGreaterThan(100);
  await lab.build(`FROM ${HOSTILE}\n${ATTACK.join("")}`, { tags: ["hostile"] });
  await runIn(lab, HOSTILE, ["sh", "-c", "echo x >> /d/file; rm -rf /bin/sh /d /etc"]);
  const after = new Set(layersOf(lab));
  expect(before.filter((line) => !after.has(line))).toEqual([]);
  await lab.cooper[Symbol.asyncDispose]();
  expect(await problemsOf(lab.cooper.root)).toEqual([]);
});

test("X12: one byte that changed in a layer's tree or tar is found by the check", async () => {
  await lab.build(`FROM ${HOSTILE}\nRUN echo content > /made\n`, { tags: ["made"] });
  const { root } = lab.cooper;
  await lab.cooper[Symbol.asyncDispose]();
  const layers = join(root, "layers");
  const made = readdirSync(layers)
    .map((id) => join(layers, id, "tree/made"))
    .find((path) => readIf(path) !== undefined);
  if (made === undefined) throw new Error("the step's layer has no tree");
  writeFileSync(made, "c0ntent\n");
  expect(await problemsOf(root)).toEqual([expect.stringContaining("layer sha256:")]);
});

function readIf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
