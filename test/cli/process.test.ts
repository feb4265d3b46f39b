import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cooper } from "../e2e/command.js";

const program = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-cli-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const run = (...args: string[]) => cooper(args, { root: join(dir, "root"), mayFail: true });

describe("the bundled command", () => {
  test("--version", async () => {
    const { status, stdout, stderr } = await run("--version");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^cooper version \d+\.\d+\.\d+\n$/);
  });

  test("--help, and the help of a command", async () => {
    expect((await run("--help")).stdout).toContain("\nCommands:\n  build ");
    expect((await run("help", "build")).stdout).toContain("cooper build [options] CONTEXT");
  });

  test.each([
    [["nosuch"], 'Error: unknown command "nosuch" for "cooper"\n'],
    [["build", "--fiel", "x", "."], 'Error: unknown flag --fiel for "cooper build"; did you mean --file?\n'],
    [["build", "--squash", "."], 'Error: --squash is not supported yet by "cooper build"\n'],
  ])("%j ends with 125", async (args, stderr) => {
    expect(await run(...args)).toMatchObject({ status: 125, stdout: "", stderr });
  });
});

describe("where the output goes", () => {
  /** Ends with the exit code; stdout is whatever `stdio` says. */
  const exitCode = async (child: ChildProcess): Promise<number | null> => {
    const [code] = (await once(child, "exit")) as [number | null];
    return code;
  };

  test("a reader that went away is no failure", async () => {
    const child = spawn(process.execPath, [program, "help", "build"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    expect(await exitCode(child)).toBe(0);
    expect(stderr).toBe("");
  });

  test("nor is one of stderr", async () => {
    const child = spawn(process.execPath, [program, "nosuch"], { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr?.destroy();
    expect(await exitCode(child)).toBe(125);
  });

  test("a full disk is", async () => {
    const full = openSync("/dev/full", "w");
    const child = spawn(process.execPath, [program, "--version"], { stdio: ["ignore", full, "pipe"] });
    closeSync(full);
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    expect(await exitCode(child)).toBe(125);
    expect(stderr).toContain("Error: cannot write to stdout: no space left on device\n");
  });

  test("a slow reader of a non-blocking pipe gets every byte", async () => {
    // The message repeats the name, and is longer than the 64 KiB that a pipe holds. Node makes the first three
    // descriptors of a child blocking again, so a shell in between moves the fourth one there.
    const script = `
      const { constants, openSync } = require("node:fs");
      const fd = openSync("fifo", constants.O_WRONLY | constants.O_NONBLOCK);
      const argv = ["-c", 'exec "$@" 2>&3', "sh", process.execPath, process.argv[1], "x".repeat(100_000)];
      require("node:child_process").spawn("sh", argv, { stdio: ["ignore", "ignore", "ignore", fd] });`;
    const shell = `mkfifo fifo; exec 3<>fifo; "$1" -e "$2" "$3" & sleep 0.5; exec timeout 20 head -n 1 <&3`;
    const child = spawn("sh", ["-c", shell, "sh", process.execPath, script, program], {
      cwd: dir,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let received = "";
    child.stdout.on("data", (chunk: Buffer) => (received += chunk.toString()));
    await once(child, "close");
    expect(received).toBe(`Error: unknown command "${"x".repeat(100_000)}" for "cooper"\n`);
  });
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s ends a waiting command with %d", async (signal, status) => {
  const child = spawn(process.execPath, [program, "login", "127.0.0.1:1"], {
    env: { ...process.env, COOPER_ROOT: join(dir, "root"), REGISTRY_AUTH_FILE: join(dir, "auth.json") },
    stdio: ["pipe", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    if (stderr === "Username: ") child.kill(signal);
  });
  const [code] = (await once(child, "close")) as [number | null];
  expect({ code, stderr }).toEqual({ code: status, stderr: `Username: Error: interrupted by ${signal}\n` });
});

test("the start of a command loads none of Node's dear modules", async () => {
  const report = join(dir, "report.cjs");
  const list = join(dir, "modules.json");
  writeFileSync(
    report,
    `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(list)}, JSON.stringify(process.moduleLoadList)));`,
  );
  for (const args of [["--version"], ["build", "--help"], ["build", "--no-such-flag"]]) {
    await cooper(args, {
      root: join(dir, "root"),
      mayFail: true,
      env: { NODE_OPTIONS: `--require ${report}` },
    });
    const modules = JSON.parse(readFileSync(list, "utf8")) as readonly string[];
    const dear = [
      "http",
      "https",
      "worker_threads",
      "readline",
      "tty",
      "net",
      "stream",
      "crypto",
      "child_process",
    ];
    expect(modules.filter((name) => dear.includes(name.replace("NativeModule ", "")))).toEqual([]);
  }
});
