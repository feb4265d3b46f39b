import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasCode } from "../../src/errors.js";
import { DEFAULT_LIMITS, DEFAULT_SECURITY, openSandbox } from "../../src/runtime/index.js";
import { mountsOfNoOther } from "../support/leftovers.js";
import { testWith } from "../support/packages.js";
import type { Bench } from "./support.js";
import { bundleProgram, busyboxRoot, childPath, exited, openBench } from "./support.js";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

/** Processes of this machine whose command line holds a word. */
function processesWith(word: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(word);
    } catch {
      return false;
    }
  });
}

async function until(condition: () => boolean, seconds = 20): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The helpers that this process has started: node below unshare below us. */
function helpersOf(): readonly number[] {
  const children = (pid: number): readonly number[] => {
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
    } catch {
      return [];
    }
  };
  return children(process.pid)
    .flatMap(children)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("sandbox-child.cjs"));
}

let words = 0;
/** A number of seconds for sleep(1) that no other process sleeps. */
const uniqueSleep = (): string => `${process.pid}${(words += 1)}.77`;

describe("when a process ends, all of it has ended", () => {
  test("P1: a daemon in its own session that holds the streams and ignores signals", async () => {
    const seconds = uniqueSleep();
    const { status, stdout } = await bench.sh(
      `(trap '' HUP TERM INT; setsid sleep ${seconds}) & echo started; sleep 0.1; exit 4`,
    );
    expect([status, stdout]).toEqual([exited(4), "started\n"]);
    expect(processesWith(seconds)).toEqual([]);
  });

  test("X15: a stream that somebody outside of the sandbox holds keeps nobody waiting", async () => {
    const marker = uniqueSleep();
    const shared = bench.layer();
    const run = bench.sh(`: ${marker}; echo main; until [ -e /v/go ]; do sleep 0.05; done; exit 5`, {
      mounts: [{ type: "bind", source: shared, target: "/v", readOnly: true }],
    });
    await until(() => processesWith(marker).length > 0);
    const holder = openSync(`/proc/${processesWith(marker)[0]}/fd/1`, "w");
    try {
      writeFileSync(join(shared, "go"), "");
      const held = new Promise((resolve) => setTimeout(resolve, 20_000, "held"));
      expect(await Promise.race([run, held])).toMatchObject({ status: exited(5), stdout: "main\n" });
    } finally {
      closeSync(holder);
    }
  });

  test("abort: the tree is dead when the promise settles", async () => {
    const seconds = uniqueSleep();
    const controller = new AbortController();
    const plan = bench.plan([
      "/bin/sh",
      "-c",
      `trap '' TERM INT; (setsid sleep ${seconds} &); sleep ${seconds}; sleep ${seconds}`,
    ]);
    const run = bench.sandbox.run(plan, { signal: controller.signal });
    await until(() => processesWith(seconds).length >= 3);
    controller.abort();
    await expect(run).rejects.toSatisfy((error) => hasCode(error, "aborted"));
    expect(processesWith(seconds)).toEqual([]);
    expect((await bench.sh("echo again")).stdout).toBe("again\n");
  });

  test("abort before the start, and while a reader is slow", async () => {
    const early = bench.sandbox.run(bench.plan(["true"]), { signal: AbortSignal.abort() });
    await expect(early).rejects.toSatisfy((error) => hasCode(error, "aborted"));
    const controller = new AbortController();
    const late = bench.sandbox.run(bench.plan(["yes"]), {
      signal: controller.signal,
      onOutput: () => {
        controller.abort();
        return new Promise(() => undefined);
      },
    });
    await expect(late).rejects.toSatisfy((error) => hasCode(error, "aborted"));
  });

  test("dispose ends helpers and removes the scratch files", async () => {
    const other = openBench();
    other.sandbox.prewarm("host");
    await other.sh("true");
    expect(readdirSync(join(other.dir, "scratch"))).toHaveLength(1);
    await other.sandbox[Symbol.asyncDispose]();
    expect(readdirSync(join(other.dir, "scratch"))).toEqual([]);
    await other[Symbol.asyncDispose]();
  });

  test("F02: SIGKILL of the helper while it runs a command, and while it is idle", async () => {
    await using other = openBench();
    const seconds = uniqueSleep();
    const run = other.sh(`sleep ${seconds}; sleep ${seconds}`);
    const failed = expect(run).rejects.toThrow("the sandbox's helper process died");
    await until(() => processesWith(seconds).length >= 2);
    helpersOf().forEach((pid) => process.kill(pid, "SIGKILL"));
    await failed;
    await until(() => processesWith(seconds).length === 0, 5);
    expect((await other.sh("echo again")).stdout).toBe("again\n");
    helpersOf().forEach((pid) => process.kill(pid, "SIGKILL"));
    await until(() => helpersOf().length === 0, 5);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await other.sh("echo and again")).stdout).toBe("and again\n");
    expect((await bench.sh("echo others too")).stdout).toBe("others too\n");
  });

  test("several at once do not disturb one another", async () => {
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, index) => bench.sh(`echo ${index}; sleep 0.2; exit ${index}`)),
    );
    expect(results.map(({ status, stdout }) => [status, stdout])).toEqual(
      results.map((_, index) => [exited(index), `${index}\n`]),
    );
  });
});

describe("when cooper dies", () => {
  test("by SIGKILL, nothing is left: no process, no mount", async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-killed-"));
    const seconds = uniqueSleep();
    try {
      const script = await engineScript(dir, seconds);
      const before = mountsOfNoOther(dir);
      const engine = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
      await until(() => processesWith(seconds).length >= 3);
      engine.kill("SIGKILL");
      await until(() => processesWith(seconds).length === 0 && processesWith(dir).length === 0, 5);
      expect(mountsOfNoOther(dir)).toEqual(before);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

/** A program that runs a stubborn command, in a file of its own so that it can be killed. */
async function engineScript(dir: string, seconds: string): Promise<string> {
  const base = join(dir, "base");
  busyboxRoot(base);
  for (const name of ["upper", "work", "scratch"]) mkdirSync(join(dir, name));
  const plan = {
    rootfs: { kind: "overlay", lowerDirs: [base], upperDir: join(dir, "upper"), workDir: join(dir, "work") },
    argv: [
      "/bin/sh",
      "-c",
      `trap '' HUP TERM INT; (setsid sleep ${seconds} &); sleep ${seconds}; sleep ${seconds}`,
    ],
    env: { PATH: "/bin" },
    cwd: "/",
    uid: 0,
    gid: 0,
    groups: [],
    hostname: "x",
    network: "none",
    mounts: [],
    devices: [],
    security: DEFAULT_SECURITY,
    limits: DEFAULT_LIMITS,
    stdin: "null",
    stdio: "pipe",
  };
  const options = { childPath, scratchDir: join(dir, "scratch"), userNamespace: false };
  return bundleProgram(
    dir,
    `import { DEFAULT_LIMITS, DEFAULT_SECURITY, openSandbox } from "./src/runtime/index.js";
    await openSandbox(${JSON.stringify(options)}).run(${JSON.stringify(plan)}, { signal: new AbortController().signal });`,
  );
}

describe("much output", () => {
  test("P3: 1 GiB passes through in constant memory", async () => {
    let total = 0;
    let highest = 0;
    const start = process.memoryUsage().rss;
    const plan = bench.plan(["dd", "if=/dev/zero", "bs=1M", "count=1024"]);
    const status = await bench.sandbox.run(plan, {
      signal: new AbortController().signal,
      onOutput: (stream, chunk) => {
        if (stream === "stdout") total += chunk.length;
        if (total % (64 << 20) < 65536) highest = Math.max(highest, process.memoryUsage().rss);
      },
    });
    expect(status).toEqual(exited(0));
    expect(total).toBe(1 << 30);
    expect(highest - start).toBeLessThan(200 << 20);
  });

  test("P3: a listener that takes its time holds the process back, and loses nothing", async () => {
    const shared = bench.layer();
    const mounts = [{ type: "bind", source: shared, target: "/v", readOnly: false }] as const;
    const script = "dd if=/dev/zero bs=64k count=64 2>/dev/null; touch /v/over";
    const plan = bench.plan(["/bin/sh", "-c", script], { mounts });
    let total = 0;
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const onOutput = (_stream: string, chunk: Uint8Array): Promise<void> => {
      total += chunk.length;
      return released;
    };
    const run = bench.sandbox.run(plan, { signal: new AbortController().signal, onOutput });
    await until(() => total > 0);
    // Time enough to write all of it, were anybody to take it.
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(existsSync(join(shared, "over"))).toBe(false);
    release();
    expect(await run).toEqual(exited(0));
    expect([total, existsSync(join(shared, "over"))]).toEqual([4 << 20, true]);
  });

  test("without a listener a process is not held up", async () => {
    const plan = bench.plan(["/bin/sh", "-c", "dd if=/dev/zero bs=1M count=8 2>/dev/null; exit 5"]);
    expect(await bench.sandbox.run(plan, { signal: new AbortController().signal })).toEqual(exited(5));
  });
});

describe("when the helper cannot start", () => {
  test("one clear error, and no process", async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-broken-"));
    try {
      writeFileSync(join(dir, "broken.cjs"), "throw new Error('it is broken')");
      const sandbox = openSandbox({
        childPath: join(dir, "broken.cjs"),
        scratchDir: dir,
        userNamespace: false,
      });
      const run = sandbox.run(bench.plan(["true"]), { signal: new AbortController().signal });
      await expect(run).rejects.toSatisfy((error) => hasCode(error, "sandbox"));
      await sandbox[Symbol.asyncDispose]();
      expect(processesWith("broken.cjs")).toEqual([]);
      expect(existsSync(join(dir, "sandbox-"))).toBe(false);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

testWith(
  ["strace"],
  "a sandbox that is closed between its launcher's fork and the fork's tie to it ends all the same",
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-runtime-"));
    const program = await bundleProgram(
      dir,
      `import { DEFAULT_LIMITS, DEFAULT_SECURITY, openSandbox } from "./src/runtime/index.js";
    const sandbox = openSandbox(${JSON.stringify({ childPath, scratchDir: dir, userNamespace: false })});
    sandbox.prewarm("host");
    setTimeout(async () => {
      await sandbox[Symbol.asyncDispose]();
      console.log("closed");
    }, 2600);`,
    );
    // Every prctl takes 0.4 s: the six of setpriv are over by then, the one of the fork of unshare is not.
    const slow = [
      "-f",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      "trace=prctl",
      "-e",
      "inject=prctl:delay_enter=400000",
    ];
    const child = spawn("strace", [...slow, process.execPath, program], {
      stdio: ["ignore", "pipe", "inherit"],
      timeout: 30_000,
    });
    const said: string[] = [];
    child.stdout.setEncoding("utf8").on("data", (text: string) => said.push(text));
    const status = await new Promise((resolve) =>
      child.once("exit", (code, signal) => resolve(code ?? signal)),
    );
    try {
      expect(said.join("")).toBe("closed\n");
      expect(status).toBe(0);
      expect(processesWith(dir)).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);
