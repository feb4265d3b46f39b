import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { imageIdOf } from "../e2e/command.js";
import { expectNothingLeft, openFaultLab, problemsOf, processesOf } from "./fault-lab.js";
import type { FaultLab } from "./fault-lab.js";

let lab: FaultLab;
beforeAll(async () => {
  lab = await openFaultLab();
  // Enough files to be in the middle of them, and so many that no one instant is like another.
  for (let i = 0; i < 300; i += 1)
    lab.write({ [`context/tree/${i % 20}/file-${i}`]: `content ${i}\n`.repeat(i) });
});
afterAll(() => lab[Symbol.dispose]());

/** Timestamps and all: the same text gives the same image, so an interrupted build can be compared with a whole one. */
const THREE_STEPS = (marker: string) => `FROM base
COPY tree /tree
RUN echo ${marker}; mkdir -p /made/d; for i in 1 2 3 4 5 6 7 8; do cp -r /tree/$i /made/d/; done; sleep 0.2; rm -rf /tree/1
COPY busybox /again
`;

/** What makes an image what it is, without the times at which it was made. */
async function contentOf(root: FaultLab, image: string): Promise<string> {
  const script =
    "cd / && find bin tree made again -type f | sort | xargs sha256sum | sha256sum; find bin tree made again | sort | sha256sum";
  return (await root.run(["run", "--rm", image, "sh", "-c", script])).stdout;
}

test("a build that is killed at any instant leaves a store on which the next one gives the same", async () => {
  const whole = await lab.freshRoot();
  const started = Date.now();
  const good = imageIdOf(await whole.build(THREE_STEPS("x")));
  const wholeMs = Date.now() - started;
  const content = await contentOf(whole, good);

  const killed = await lab.freshRoot();
  const file = killed.write({ killed: "" });
  const INSTANTS = 20;
  for (let i = 1; i <= INSTANTS; i += 1) {
    killed.write({ killed: THREE_STEPS(`round ${i}`) });
    const child = killed.start(["build", "--no-cache", "-f", file, "-t", "later", killed.context]);
    const closed = new Promise((resolve) => child.once("close", resolve));
    await sleep((wholeMs * 1.05 * i) / INSTANTS);
    child.kill("SIGKILL");
    await closed;
    expect(await problemsOf(killed.root)).toEqual([]);
  }
  const again = await killed.build(THREE_STEPS("x"), ["-t", "later"]);
  expect(again.status).toBe(0);
  expect(await contentOf(killed, "later")).toBe(content);
  await expectNothingLeft(killed);
}, 120_000);

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
    const child = lab.start(["build", "-f", "-", lab.context], "pipe");
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
