import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundleProgram, busyboxRoot, childPath, requireSandbox } from "./support.js";

let dir: string;
let engine: string;

/** A program that runs the shell text in its first argument with `stdio: "tty"` or as the second says. */
beforeAll(async () => {
  requireSandbox();
  dir = mkdtempSync(join(tmpdir(), "cooper-terminal-"));
  busyboxRoot(join(dir, "base"));
  mkdirSync(join(dir, "scratch"));
  engine = await bundleProgram(
    dir,
    `import { mkdtempSync, mkdirSync } from "node:fs";
    import { DEFAULT_LIMITS, DEFAULT_SECURITY, findRuntime, openOciSandbox, openSandbox } from "./src/runtime/index.js";
    const [script, stdio, uid, runtime] = process.argv.slice(2);
    const dir = mkdtempSync(${JSON.stringify(join(dir, "run-"))});
    for (const name of ["upper", "work"]) mkdirSync(dir + "/" + name);
    const options = { childPath: ${JSON.stringify(childPath)}, scratchDir: ${JSON.stringify(join(dir, "scratch"))}, userNamespace: false };
    const sandbox = runtime === undefined ? openSandbox(options) : openOciSandbox({ ...options, runtime: findRuntime(runtime) });
    const status = await sandbox.run({
      rootfs: { kind: "overlay", lowerDirs: [${JSON.stringify(join(dir, "base"))}], upperDir: dir + "/upper", workDir: dir + "/work" },
      argv: ["/bin/sh", "-c", script], env: { PATH: "/bin" }, cwd: "/", uid: Number(uid), gid: 0, groups: [], hostname: "t",
      network: "none", mounts: [], devices: [], security: DEFAULT_SECURITY, limits: DEFAULT_LIMITS, stdin: "inherit", stdio,
    }, { signal: new AbortController().signal });
    await sandbox[Symbol.asyncDispose]();
    process.stdout.write("[" + JSON.stringify(status) + "]\\n", () => process.exit(0));`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Session {
  readonly text: string;
}

/** Runs it with cooper's streams as pipes, or under script(1), which gives it a terminal; `keys` are typed when `prompt` is seen. */
function session(
  shell: string,
  stdio: string,
  options: {
    readonly terminal?: string;
    readonly keys?: string;
    readonly prompt?: string;
    readonly runtime?: string | undefined;
    readonly uid?: number;
    /** A file in place of stdin. */
    readonly input?: string;
  } = {},
): Promise<Session> {
  const { runtime, uid = 0, input } = options;
  const words = [process.execPath, engine, shell, stdio, String(uid)];
  const quoted = [...words, ...(runtime === undefined ? [] : [runtime])]
    .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
    .join(" ");
  const command = options.terminal === undefined ? quoted : `${options.terminal}; ${quoted}`;
  const child =
    options.terminal === undefined
      ? spawn("sh", ["-c", input === undefined ? command : `${command} < '${input}'`])
      : spawn("script", ["-qefc", command, "/dev/null"]);
  let text = "";
  let typed = false;
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (!typed && options.keys !== undefined && text.includes(options.prompt ?? "")) {
        typed = true;
        child.stdin.write(options.keys);
      }
    });
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
    child.on("error", reject);
    child.on("close", () => resolve({ text: text.replaceAll("\r", "") }));
    if (options.keys === undefined && options.terminal === undefined) child.stdin.end("from outside\n");
  });
}

describe.each([undefined, "crun", "runc"])("stdio tty, runtime %s", (runtime) => {
  test("is a terminal of the sandbox's own, with the size of cooper's", async () => {
    const { text } = await session(
      "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; exit 6",
      "tty",
      { runtime, terminal: "stty rows 40 cols 132" },
    );
    expect(text).toContain("/dev/pts/0\n40 132\nall\n");
    expect(text).toContain('[{"kind":"exited","code":6}]');
  });

  test("keys arrive raw: Ctrl-C is the process's", async () => {
    const shell = "trap 'echo caught; exit 9' INT; echo ready; read line; echo never";
    const { text } = await session(shell, "tty", {
      runtime,
      terminal: "stty rows 24 cols 80",
      prompt: "ready",
      keys: "\x03",
    });
    expect(text).toContain("caught");
    expect(text).toContain('[{"kind":"exited","code":9}]');
  });

  test("typed lines are read, large output is whole", async () => {
    const { text } = await session(
      "echo ready; read line; echo got $line; seq 1 20000 | tail -c 20000; echo end",
      "tty",
      {
        runtime,
        terminal: "stty rows 24 cols 80",
        prompt: "ready",
        keys: "hello\r",
      },
    );
    expect(text).toContain("got hello");
    expect(text).toContain("19999\n20000\nend\n");
  });

  test("an ordinary user may open it by its names", async () => {
    const script = "echo one > /dev/stdout; echo two > /dev/pts/0; echo three > /dev/tty";
    const { text } = await session(script, "tty", { runtime, uid: 33, terminal: "true" });
    expect(text).toContain("one\ntwo\nthree\n");
  });

  test("works without a terminal of cooper's own", async () => {
    const { text } = await session("test -t 0 && echo terminal; read line; echo got $line", "tty", {
      runtime,
    });
    expect(text).toContain("terminal");
    expect(text).toContain("got from outside");
  });
});

describe.each([undefined, "crun", "runc"])("stdio inherit, runtime %s", (runtime) => {
  test("is cooper's own streams", async () => {
    const { text } = await session("cat; echo out; echo err >&2; exit 2", "inherit", { runtime });
    expect(text).toContain("from outside\n");
    expect(text).toContain("out\n");
    expect(text).toContain("err\n");
    expect(text).toContain('[{"kind":"exited","code":2}]');
  });

  test("and they stay whose they were, whoever the process is", async () => {
    const input = join(dir, `input-${runtime}`);
    writeFileSync(input, "from a file\n", { mode: 0o4751 });
    chmodSync(input, 0o4751);
    const { text } = await session("cat; id -u", "inherit", { runtime, uid: 33, input });
    expect(text).toContain("from a file\n33\n");
    const { uid, gid, mode } = statSync(input);
    expect([uid, gid, mode & 0o7777]).toEqual([0, 0, 0o4751]);
  });

  test("X09: a terminal of the host is not the process's own, and cannot be typed into", async () => {
    const { text } = await session("(: < /dev/tty) 2>&1; cut -d' ' -f7 /proc/self/stat", "inherit", {
      runtime,
      terminal: "true",
    });
    expect(text).toMatch(/\/dev\/tty.*No such device/);
    expect(text).toContain("\n0\n");
  });
});
