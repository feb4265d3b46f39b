import { readdirSync, readFileSync, statSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCanary, SECRET } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";

let lab: Lab;
let canary: Canary;
beforeAll(async () => {
  lab = await openLab();
  canary = openCanary(lab.dir);
});
afterAll(() => lab[Symbol.asyncDispose]());

const said = (work: Promise<{ readonly output: string }>): Promise<string> =>
  work.then(
    ({ output }) => output,
    (error: Error) => error.message,
  );

test("C08: a base image's WorkingDir reaches no descriptor of the host, in RUN or run", async () => {
  const script = `pwd; cat ${canary.climb}/secret /proc/self/cwd/${canary.climb}/secret; ls ${canary.climb}`;
  // Warms the helper that all of them run in.
  await loadBase(lab, []);
  await runIn(lab, HOSTILE, ["true"]);
  const held = directoriesHeld();
  for (const fd of [0, 9, ...held]) {
    await loadBase(lab, [], { config: { WorkingDir: `/proc/self/fd/${fd}` } });
    for (const output of [
      await said(lab.build(`FROM ${HOSTILE}\nRUN ${script}; true\n`, { cache: false })),
      await said(runIn(lab, HOSTILE, ["sh", "-c", script])),
    ]) {
      expect(output).not.toContain(SECRET);
      expect(output).not.toContain("victim");
    }
  }
  canary.untouched();
  // None, so that there is nothing to reach even where something else fails.
  expect(held).toEqual([]);
});

/** Numbers of all descriptors of this process's helpers that are directories: a copy of the helper becomes the command. */
function directoriesHeld(): readonly string[] {
  const childrenOf = (pid: string): readonly string[] =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  const helpers = childrenOf(String(process.pid)).flatMap(childrenOf);
  expect(helpers.length).toBeGreaterThan(0);
  return helpers.flatMap((pid) =>
    readdirSync(`/proc/${pid}/fd`).filter((fd) => statSync(`/proc/${pid}/fd/${fd}`).isDirectory()),
  );
}

test("C08: neither do WORKDIR and --workdir, for any descriptor", async () => {
  await loadBase(lab, []);
  for (const fd of [3, 10, 20]) {
    const workdir = `/proc/self/fd/${fd}`;
    const script = `cat ${canary.climb}/secret`;
    expect(await said(runIn(lab, HOSTILE, ["sh", "-c", script], { workdir }))).not.toContain(SECRET);
  }
  const steps = Array.from({ length: 40 }, (_, fd) => `WORKDIR /proc/self/fd/${fd}\n`).join("");
  expect(
    await said(lab.build(`FROM ${HOSTILE}\n${steps}RUN cat ${canary.climb}/secret; true\n`)),
  ).not.toContain(SECRET);
  canary.untouched();
});

test("C08: a command has its three streams and no other descriptor", async () => {
  await loadBase(lab, []);
  const { output } = await runIn(lab, HOSTILE, ["ls", "/proc/self/fd"]);
  expect(output).toBe("0\n1\n2\n3\n");
  const build = await lab.build(`FROM ${HOSTILE}\nRUN ls /proc/$$/fd; true\n`, { cache: false });
  expect(build.output).toBe("0\n1\n2\n");
});

test("C08: a relative or climbing working directory of an image stays inside", async () => {
  for (const dir of ["../../..", "a/../../../..", `${canary.climb}`, "/../../..", ""]) {
    await loadBase(lab, [], { config: { WorkingDir: dir } });
    const output = await said(runIn(lab, HOSTILE, ["sh", "-c", "cat secret; ls"]));
    expect(output).not.toContain(SECRET);
    expect(output).not.toContain("victim");
  }
  canary.untouched();
});
