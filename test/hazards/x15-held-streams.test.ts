import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { HOSTILE, loadBase, runIn } from "../support/hostile-base.js";
import { openLab } from "../support/lab.js";

/** Open descriptors and child processes of this process. */
function held(): { readonly descriptors: number; readonly children: number } {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").split(" ").filter(Boolean);
  return { descriptors: readdirSync("/proc/self/fd").length, children: children.length };
}

test("X15: 200 commands that leave a child holding their output end, and leave nothing", async () => {
  await using lab = await openLab();
  await loadBase(lab, []);
  const seconds = `${process.pid}.515`;
  const script = `(trap '' HUP TERM; setsid sleep ${seconds}) & (sleep ${seconds} &) ; echo main; exit 5`;
  const round = () => runIn(lab, HOSTILE, ["sh", "-c", script]);
  const left = (): readonly string[] =>
    readdirSync("/proc").filter((pid) => {
      const path = `/proc/${pid}/cmdline`;
      return /^\d+$/.test(pid) && existsSync(path) && readFileSync(path, "latin1").includes(seconds);
    });
  await round();
  expect(left()).toEqual([]);
  const before = held();
  for (let done = 0; done < 200; done += 4)
    for (const result of await Promise.all([round(), round(), round(), round()]))
      expect(result).toEqual({ status: 5, output: "main\n" });
  const after = held();
  expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 12);
  expect(after.children).toBeLessThanOrEqual(before.children + 4);
  expect(left()).toEqual([]);
});
