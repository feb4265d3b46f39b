import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FaultLab } from "./fault-lab.js";
import { expectNothingLeft, openFaultLab, processesOf, PROGRAM } from "./fault-lab.js";

let lab: FaultLab;
beforeAll(async () => {
  lab = await openFaultLab();
});
afterAll(() => lab[Symbol.dispose]());

const FROM = "FROM localhost/base\n";

describe("P1: daemons that a RUN leaves", () => {
  test.each([
    ["a session of its own", "setsid sleep 9MARK & true"],
    ["a double fork", "(setsid sh -c '(sleep 9MARK &)' &) ; true"],
    ["every signal ignored", "(trap '' HUP TERM INT QUIT USR1; while :; do sleep 9MARK; done) & true"],
    ["the streams held", "(sleep 9MARK; echo la''te) & echo early"],
    ["a tree of them", "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 9MARK & sleep 9MARK' &); done"],
  ])("%s: the step ends with its command, and none survives", async (_, script) => {
    const text = `${FROM}RUN ${script.replaceAll("MARK", lab.marker)}\n`;
    const result = await lab.build(text, ["--no-cache"], { mayFail: false });
    expect(result.output).not.toContain("late");
    expect(processesOf(lab)).toEqual([]);
  });
});

describe("P2: a RUN that never ends", () => {
  test.each(["SIGINT", "SIGTERM"] as const)("%s ends cooper and all of it", async (signal) => {
    const script = `trap '' INT TERM HUP; echo started; (setsid sleep 9${lab.marker} &); while :; do sleep 9${lab.marker}; done`;
    const file = lab.write({ endless: `${FROM}RUN ${script}\n` });
    const child = lab.start(["build", "--no-cache", "--progress", "plain", "-f", file, lab.context]);
    await new Promise<void>((resolve) => {
      let said = "";
      const look = (chunk: Buffer): void => {
        said += chunk.toString();
        // Once in the step's text, once from the step itself.
        if ((said.match(/started/g) ?? []).length >= 2) resolve();
      };
      child.stderr?.on("data", look);
      child.stdout?.on("data", look);
    });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    child.kill(signal);
    expect(await ended).toBe(128 + constants.signals[signal]);
    await expectNothingLeft(lab);
  });
});

/** `cooper build` of this RUN with its memory measured; what reads its output is up to the caller. */
function measured(
  script: string,
  options: readonly string[] = [],
): {
  readonly child: ReturnType<typeof spawn>;
  readonly ended: Promise<{ readonly status: number | null; readonly peakBytes: number }>;
} {
  const file = lab.write({ flood: `${FROM}RUN ${script}\n` });
  const peak = join(lab.dir, "peak");
  const hook = lab.write({
    "peak.cjs": `process.on("exit", () => require("node:fs").writeFileSync(${JSON.stringify(peak)}, String(process.resourceUsage().maxRSS)));`,
  });
  writeFileSync(peak, "");
  const args = ["--require", hook, PROGRAM, "build", "--no-cache", "--progress", "plain", "-f", file];
  const child = spawn(process.execPath, [...args, ...options, lab.context], {
    env: { ...process.env, COOPER_ROOT: lab.root },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<{ status: number | null; peakBytes: number }>((resolve) =>
    child.once("exit", (status) => resolve({ status, peakBytes: Number(readFileSync(peak, "utf8")) * 1024 })),
  );
  return { child, ended };
}

const LIMIT = 200 << 20;

describe("P3: output without end", () => {
  test("256 MiB in lines come through whole, in little memory", async () => {
    const { child, ended } = measured(
      "yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | head -c 268435456",
    );
    let count = 0;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (chunk: Buffer) => (count += chunk.length));
    const { status, peakBytes } = await ended;
    expect(status).toBe(0);
    expect(count).toBeGreaterThan(1 << 28);
    expect(peakBytes).toBeGreaterThan(0);
    expect(peakBytes).toBeLessThan(LIMIT);
  });

  test("1 GiB in a single line does, too", async () => {
    const { child, ended } = measured("head -c 1073741824 /dev/zero | tr '\\\\0' x; exit 0");
    let count = 0;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (chunk: Buffer) => (count += chunk.length));
    const { status, peakBytes } = await ended;
    expect(status).toBe(0);
    expect(count).toBeGreaterThanOrEqual(1 << 30);
    expect(peakBytes).toBeLessThan(LIMIT);
  });

  test("a reader that is slow holds the step back and loses nothing", async () => {
    const shared = lab.write({ "shared/": "" });
    const { child, ended } = measured(
      "touch /v/begun; head -c 4000000 /dev/zero | tr '\\\\0' 'y' | fold -w 100; touch /v/over; echo the end",
      ["-v", `${shared}:/v`],
    );
    let text = "";
    child.stdout?.resume();
    while (!existsSync(join(shared, "begun"))) await sleep(20);
    // Time enough to write all of it, were anybody to take it.
    await sleep(1000);
    expect(existsSync(join(shared, "over"))).toBe(false);
    child.stderr?.on("data", (chunk: Buffer) => (text = (text + chunk.toString("latin1")).slice(-2000)));
    const { status, peakBytes } = await ended;
    expect(status).toBe(0);
    await sleep(50);
    expect(text).toContain("the end");
    expect(existsSync(join(shared, "over"))).toBe(true);
    expect(peakBytes).toBeLessThan(LIMIT);
  });

  test("a reader that goes away does not fail the build", async () => {
    const { child, ended } = measured("for i in $(seq 1 2000); do echo line $i; done; echo built > /built");
    child.stdout?.destroy();
    child.stderr?.once("data", () => child.stderr?.destroy());
    const { status, peakBytes } = await ended;
    expect(status).toBe(0);
    expect(peakBytes).toBeLessThan(LIMIT);
  });
});

describe("P4: how a RUN ends is how the build ends", () => {
  test.each([
    ["exit 3", "exit 3", 3],
    ["streams closed", "exec <&- >&- 2>&-; exit 4", 4],
    ["SIGSEGV of what the shell runs", "sh -c 'kill -SEGV $$'; exit $?", 139],
    ["SIGKILL of itself by status", "exit 137", 137],
    ["no such command", "/no/such/command", 127],
    ["not executable", "/etc/hosts", 126],
  ])("%s", async (_, script, status) => {
    const result = await lab.build(`${FROM}RUN true\nRUN ${script}\n`);
    expect([result.status, result.stderr]).toEqual([status, expect.stringMatching(/:3:1/) as string]);
  });

  test.each([
    ["a missing interpreter", "#!/no/such/interpreter\n", 0o755, 127],
    ["a file that is no program", "\u0000nothing", 0o755, 126],
    ["a file without the x bit", "#!/bin/sh\n", 0o644, 126],
  ])("%s, in the exec form", async (_, content, mode, status) => {
    lab.write({ "context/program": content });
    const steps = `COPY --chmod=${mode.toString(8)} program /program\nRUN ["/program"]\n`;
    const result = await lab.build(`${FROM}${steps}`);
    expect([result.status, result.stderr]).toEqual([status, expect.stringMatching(/:3:1/) as string]);
  });

  test("and nothing is left of any of it", () => expectNothingLeft(lab));
});
