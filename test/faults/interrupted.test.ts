import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectNothingLeft, openFaultLab, processesOf } from "./fault-lab.js";
import type { FaultLab } from "./fault-lab.js";

let lab: FaultLab;
beforeAll(async () => {
  lab = await openFaultLab();
  // Enough files to be in the middle of them, and so many that no one instant is like another.
  for (let i = 0; i < 300; i += 1)
    lab.write({ [`context/tree/${i % 20}/file-${i}`]: `content ${i}\n`.repeat(i) });
});
afterAll(() => lab[Symbol.dispose]());

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s", (signal, status) => {
  test("ends a RUN that ignores it, with all its children, within 2 s", async () => {
    const sleeper = `sleep ${lab.marker}`;
    const text = `FROM base
RUN trap "" TERM INT HUP; (setsid ${sleeper}) & ${sleeper} & echo ready; while :; do ${sleeper}; done
`;
    const file = lab.write({ ignoring: text });
    const child = lab.start(["build", "-f", file, "-t", "never", lab.context]);
    let output = "";
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    const ready = new Promise<void>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream?.on("data", (chunk: Buffer) => {
          output += chunk.toString();
          if (/^ready$/m.test(output)) resolve();
        });
      }
    });
    await Promise.race([ready, closed]);
    expect(processesOf(lab).length).toBeGreaterThan(3);
    child.kill(signal);
    // The promise itself, so it is one of the few things that are timed.
    const inTime = await Promise.race([closed, sleep(2000, "late" as const)]);
    expect(inTime).toBe(status);
    expect(output.match(/^Error: .*$/gm)).toEqual([`Error: interrupted by ${signal}`]);
    await expectNothingLeft(lab);
    expect((await lab.run(["inspect", "never"], { mayFail: true })).status).toBe(125);
  });

  test("ends the reading of a Containerfile from stdin", async () => {
    const child = lab.start(["build", "-f", "-", lab.context], { stdio: "pipe" });
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    // More than a pipe holds: when it is written, somebody reads.
    await new Promise((resolve) => child.stdin?.write(`#${"x".repeat(1 << 20)}\n`, resolve));
    child.kill(signal);
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    expect(await Promise.race([closed, sleep(2000, "late" as const)])).toBe(status);
    expect(stderr).toBe(`Error: interrupted by ${signal}\n`);
  });

  test("ends `run`, and its container", async () => {
    const child = lab.start(["run", "--rm", "base", "sh", "-c", `echo ready; sleep ${lab.marker}`]);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    child.kill(signal);
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    expect(await Promise.race([closed, sleep(2000, "late" as const)])).toBe(status);
    await expectNothingLeft(lab);
  });
});

test("a reader of the progress that goes away ends no build", async () => {
  const child = lab.start([
    "build",
    "--no-cache",
    "-f",
    lab.write({ talk: "FROM base\nRUN seq 20000\n" }),
    lab.context,
  ]);
  let stdout = "";
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.once("data", () => child.stderr?.destroy());
  expect(await new Promise((resolve) => child.once("close", resolve))).toBe(0);
  expect(stdout.trimEnd()).toMatch(/[0-9a-f]{64}$/);
  await expectNothingLeft(lab);
});

test("two builds at once of the same in one store give one image", async () => {
  const text = "FROM base\nCOPY tree /tree\nRUN rm -r /tree/3; echo two > /two\nCOPY busybox /b\n";
  const both = await Promise.all([lab.build(text, ["-t", "one"]), lab.build(text, ["-t", "two"])]);
  expect(both.map(({ status }) => status)).toEqual([0, 0]);
  expect(await contentless(lab, "one")).toBe(await contentless(lab, "two"));
  await expectNothingLeft(lab);
  expect(readdirSync(join(lab.root, "tmp"))).toEqual([]);
});

/** The files of an image as `find` lists them. */
async function contentless(of: FaultLab, image: string): Promise<string> {
  return (await of.run(["run", "--rm", image, "find", "/tree", "/two", "/b"])).stdout;
}
