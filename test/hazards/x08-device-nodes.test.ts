import { expect, test } from "vitest";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";
import { openBench, withCapabilities } from "../runtime/support.js";

test("X08: device nodes can neither be made nor, when an image has them, opened", async () => {
  await using bench = openBench();
  const { stdout, stderr } = await bench.sh("mknod /m c 1 1 && echo MADE; mknod /dev/m b 8 0 && echo MADE");
  expect(stdout).toBe("");
  expect(stderr.match(/Operation not permitted/g)).toHaveLength(2);
  const { treeSyscalls } = await import("../../src/runtime/index.js");
  const layer = bench.layer();
  treeSyscalls().makeNode(`${layer}/mem`, "char", 0o666, { major: 1, minor: 1 });
  treeSyscalls().makeNode(`${layer}/disk`, "block", 0o666, { major: 254, minor: 0 });
  // The kernel itself may refuse those two: this one it lets everybody have.
  treeSyscalls().makeNode(`${layer}/random`, "char", 0o666, { major: 1, minor: 9 });
  const opened = await bench.sh("for f in /mem /disk /random; do (exec 3<$f) && echo OPENED $f; done; true", {
    lowerDirs: [layer, bench.base],
    security: withCapabilities("CAP_DAC_OVERRIDE", "CAP_MKNOD"),
  });
  expect(opened.stdout).toBe("");
});

test("X08, L16: device nodes that an image brings cannot be opened by RUN or run", async () => {
  await using lab = await openLab();
  await loadBase(lab, [
    { name: "mem", type: "3", major: 1, minor: 1, mode: 0o666 },
    { name: "kmsg", type: "3", major: 1, minor: 11, mode: 0o666 },
    { name: "null", type: "3", major: 1, minor: 3, mode: 0o666 },
    { name: "disk", type: "4", major: 7, minor: 0, mode: 0o666 },
    { name: "fuse", type: "3", major: 10, minor: 229, mode: 0o666 },
  ]);
  const script =
    "for f in /mem /kmsg /null /disk /fuse; do (exec 3<$f) && echo OPENED $f; (exec 3>$f) && echo OPENED $f; done; ls -d /mem; true";
  const build = await lab.build(`FROM ${HOSTILE}\nRUN ${script}\n`);
  expect(build.output).toContain("/mem\n");
  expect(build.output).not.toContain("OPENED");
  expect((await runIn(lab, HOSTILE, ["sh", "-c", script])).output).not.toContain("OPENED");
});
