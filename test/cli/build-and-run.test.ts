import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Cooper } from "../../src/cooper.js";
import { CooperError } from "../../src/errors.js";
import { argumentsOf, built, cli, details, digest, output, step } from "./fake-world.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-cli-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("build", () => {
  test("all flags become options", async () => {
    const [options] = await argumentsOf(
      "build",
      ..."build -f ci/File -t a -t b:1 --target s --build-arg A=b=c --build-arg=B --label x=y --label z".split(
        " ",
      ),
      ..."--no-cache --pull=newer --jobs 3 --tls-verify=false --creds u:p --authfile auth.json --cert-dir c".split(
        " ",
      ),
      ..."--platform linux/arm64 --build-context d=../d --build-context l=oci-layout://l:v1".split(" "),
      ..."--build-context i=docker-image://x --build-context g=https://host/x.git#main".split(" "),
      ..."--retry=5 -o type=oci,dest=out.tar --output rootfs -q ctx".split(" "),
    );
    expect(options).toEqual({
      contextDir: "/here/ctx",
      file: "ci/File",
      tags: ["a", "b:1"],
      target: "s",
      buildArgs: { A: "b=c", B: undefined },
      labels: { x: "y", z: "" },
      platform: "linux/arm64",
      buildContexts: {
        d: "/d",
        l: "oci-layout:///here/l:v1",
        i: "docker-image://x",
        g: "https://host/x.git#main",
      },
      cache: false,
      pull: "newer",
      jobs: 3,
      tlsVerify: false,
      creds: "u:p",
      authFile: "auth.json",
      certDir: "c",
      retries: 5,
      outputs: [
        { type: "oci", dest: "/here/out.tar" },
        { type: "local", dest: "/here/rootfs" },
      ],
      signal: expect.any(AbortSignal),
      onEvent: expect.any(Function),
    });
  });

  test.each(["-", "https://host/x.git#main:sub", "git@host:x.git", "ssh://host/x", "http://host/ctx.tar"])(
    "the context %s is left to the engine",
    async (context) => {
      const [options] = await argumentsOf("build", "build", context);
      expect(options).toMatchObject({ context });
      expect(options).not.toHaveProperty("contextDir");
    },
  );

  test("without flags nothing is said that the engine decides", async () => {
    const [options] = await argumentsOf("build", "build", ".");
    expect(Object.keys(options as object).toSorted()).toEqual(["contextDir", "onEvent", "signal"]);
    expect(options).toMatchObject({ contextDir: "/here" });
    expect(
      (await argumentsOf("build", "build", "--pull", "--layers", "--rm", "--format=oci"))[0],
    ).toMatchObject({
      contextDir: "/here",
      pull: "always",
    });
  });

  test.each([
    ["10s", 10_000],
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["1.5m", 90_000],
    ["500ms", 500],
    ["90", 90_000],
    ["0.5", 500],
    ["0", 0],
    ["0.1ms", 1],
  ])("--run-timeout %s", async (text, runTimeoutMs) => {
    expect((await argumentsOf("build", "build", "--run-timeout", text, "."))[0]).toMatchObject({
      runTimeoutMs,
    });
  });

  test("--on-failure=shell on a terminal, keep anywhere", async () => {
    const { calls } = await cli(["build", "--on-failure=shell", "."], { terminal: true });
    expect(calls[0]?.args[0]).toMatchObject({ onFailure: "shell" });
    expect((await argumentsOf("build", "build", "--on-failure=keep", "."))[0]).toMatchObject({
      onFailure: "keep",
    });
  });

  test("before a shell in a failed step the progress says so, and nothing when there is none", async () => {
    const at = step(1, 1, 2, 2);
    const failed = { type: "step-failed", step: at, reason: "exit status 4", exitCode: 4 } as const;
    const events = (next: "stop" | "shell") => ({
      build: (options: Parameters<Cooper["build"]>[0]) => {
        options.onEvent?.({ type: "step-start", step: at, text: "RUN false" });
        options.onEvent?.(output(at, "half a line"));
        options.onEvent?.({ ...failed, next });
        return Promise.reject(new CooperError("run-failed", "it failed", { exitCode: 4 }));
      },
    });
    expect((await cli(["build", "."], { cooper: events("shell") })).stderr).toBe(
      'STEP 2/2: RUN false\nhalf a line\n--> Failed: exit status 4; here is a shell in what the step left, "exit" ends it\nError: it failed\n',
    );
    expect((await cli(["build", "."], { cooper: events("stop") })).stderr).not.toContain("Failed");
  });

  test("prints steps to stderr and the id alone to stdout", async () => {
    const at = step(1, 1, 2, 2);
    const { code, stdout, stderr } = await cli(["build", "."], {
      cooper: {
        build: (options) => {
          options.onEvent?.({ type: "step-start", step: at, text: "RUN echo hi" });
          options.onEvent?.(output(at, "hi\n"));
          options.onEvent?.(built(at, "b"));
          return Promise.resolve({
            imageId: digest("b"),
            config: details.config,
            steps: { cached: 0, built: 1 },
          });
        },
      },
    });
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: `${"b".repeat(64)}\n`,
      stderr: "STEP 2/2: RUN echo hi\nhi\n--> bbbbbbbbbbbb\n",
    });
  });

  test("--iidfile gets the id with its algorithm", async () => {
    const { code, stdout } = await cli(["build", "--iidfile", "iid", "."], { cwd: dir });
    expect(code).toBe(0);
    expect(readFileSync(join(dir, "iid"), "utf8")).toBe(digest("b"));
    expect(stdout).toBe(`${"b".repeat(64)}\n`);
    const failed = await cli(["build", "--iidfile", "no/such/dir", "."], { cwd: dir });
    expect(failed).toMatchObject({ code: 125, stdout: "" });
    expect(failed.stderr).toContain(`Error: cannot write ${dir}/no/such/dir: no such file or directory`);
  });

  test("a Containerfile is read from a pipe, not from a terminal", async () => {
    expect((await argumentsOf("build", "build", "-f", "-", "."))[0]).toMatchObject({ file: "-" });
    expect(await cli(["build", "-f", "-", "."], { terminal: true })).toMatchObject({ code: 125, opened: [] });
  });

  test("an archive on stdout is followed by nothing", async () => {
    expect(await cli(["build", "-o", "type=docker,dest=-", "."])).toMatchObject({ code: 0, stdout: "" });
    expect(await cli(["build", "-o", "type=docker,dest=-", "."], { terminal: true })).toMatchObject({
      code: 125,
    });
  });

  test("a failed RUN ends with its own code", async () => {
    const failure = new CooperError(
      "run-failed",
      'building at STEP "RUN false": while running runtime: exit status 7',
      {
        exitCode: 7,
        hint: "look above",
        source: { name: "Containerfile", text: "FROM x\nRUN false\n" },
        span: { start: 7, end: 16, line: 2, column: 1, endLine: 2 },
      },
    );
    expect(await cli(["build", "."], { cooper: { build: () => Promise.reject(failure) } })).toMatchObject({
      code: 7,
      stdout: "",
      stderr:
        'Error: building at STEP "RUN false": while running runtime: exit status 7\n' +
        "  at Containerfile:2:1\n  hint: look above\n",
    });
  });

  test("a syntax error shows every finding first", async () => {
    const source = { name: "Containerfile", text: "FORM x\n" };
    const span = { start: 0, end: 4, line: 1, column: 1, endLine: 1 };
    const error = new CooperError("syntax", "Containerfile has 1 error", {
      source,
      span,
      diagnostics: [
        { code: "x", severity: "error", message: "unknown instruction FORM", span, hint: "FROM?" },
      ],
    });
    const { stderr } = await cli(["build", "."], { cooper: { build: () => Promise.reject(error) } });
    expect(stderr).toBe(
      "Containerfile:1:1: error: unknown instruction FORM\n1 | FORM x\n  | ^^^^\nhint: FROM?\n\n" +
        "Error: Containerfile has 1 error\n",
    );
  });

  test("--progress json keeps stderr JSON to the end", async () => {
    const error = new CooperError("network", "no \u009broute", { hint: "plug it in" });
    const { code, stderr } = await cli(["build", "--progress=json", "."], {
      cooper: {
        build: (options) => {
          options.onEvent?.({ type: "notice", message: "x" });
          return Promise.reject(error);
        },
      },
    });
    expect(code).toBe(125);
    expect(
      stderr
        .trimEnd()
        .split("\n")
        .map((line): unknown => JSON.parse(line)),
    ).toEqual([
      { type: "notice", message: "x" },
      { type: "error", code: "network", message: "no \\x9broute", exitCode: 125, hint: "plug it in" },
    ]);
  });

  test("an interruption ends with the signal's code, whatever it broke", async () => {
    const controller = new AbortController();
    controller.abort(new CooperError("aborted", "interrupted by SIGTERM", { exitCode: 143 }));
    const broken = { build: () => Promise.reject(new Error("EPIPE somewhere")) };
    expect(await cli(["build", "."], { signal: controller.signal, cooper: broken })).toMatchObject({
      code: 143,
      stderr: "Error: interrupted by SIGTERM\n",
    });
  });

  test.each([
    ["build --secret src=x .", '--secret: "src=x" has no id: write id=ID,src=FILE or id=ID,env=VAR'],
    ["build --squash-all .", "--squash-all is not supported yet"],
    ["build --run-timeout soon .", '--run-timeout: "soon" is not a duration such as 10s, 5m or 1h30m'],
    ["build --run-timeout -1s .", "--run-timeout"],
    ["build --run-timeout 1s30 .", "is not a duration"],
    ["build --run-timeout 800h .", "is too long: at most 24 days"],
    ["build --on-failure debug .", "is not one of: stop, shell, keep"],
    ["build --on-failure shell .", "--on-failure=shell needs a terminal as stdin, stdout and stderr"],
    ["build -v a:b .", '--volume: "a:b" is not SOURCE:TARGET[:OPTIONS], with an absolute TARGET'],
    ["build --layers=false .", "--layers=false is not supported yet"],
    ["build -o type=tar,dest=x .", 'type "tar" is not supported yet'],
    ["build -o type=oci .", "does not say where"],
    ["build -o type=local,dest=- .", "cannot be written to stdout"],
    ["build -o type=oci,dets=x .", "is not type=oci|docker|local,dest=PATH"],
    ["build --build-arg =x .", "has no name before the ="],
    ["build --build-context =x .", "has no name before the ="],
    ["build --creds me .", "--creds needs USER:PASSWORD"],
    ["build -f x", "no context directory given"],
    ["build a b", '"cooper build" takes at most 1 argument, 2 given'],
    ["build --flie x .", "did you mean --file?"],
  ])("%s is refused before anything is opened", async (line, message) => {
    const { code, stdout, stderr, opened } = await cli(line.split(" "));
    expect({ code, stdout, opened }).toEqual({ code: 125, stdout: "", opened: [] });
    expect(stderr).toMatch(/^Error: .*\n(?: {2}hint: .*\n)?$/);
    expect(stderr).toContain(message);
  });
});

describe("run", () => {
  test("flags become options, and what follows the image is the command", async () => {
    const [image, options] = await argumentsOf(
      "run",
      ..."run --rm -i -e A=1 -e B -v ./src:/src:ro -v /a:/b -w /w -u 1:2 --network none -h box".split(" "),
      ..."--entrypoint sh img ls -l --rm".split(" "),
    );
    expect(image).toBe("img");
    expect(options).toEqual({
      command: ["ls", "-l", "--rm"],
      entrypoint: ["sh"],
      env: { A: "1", B: undefined },
      volumes: ["/here/src:/src:ro", "/a:/b"],
      workdir: "/w",
      user: "1:2",
      network: "none",
      hostname: "box",
      interactive: true,
      tty: false,
      signal: expect.any(AbortSignal),
      onOutput: expect.any(Function),
      onEvent: expect.any(Function),
    });
  });

  test("-it on a terminal", async () => {
    const { calls } = await cli(["run", "--rm", "-it", "img"], { terminal: true });
    expect(calls[0]?.args[1]).toMatchObject({ interactive: true, tty: true });
  });

  test.each([
    ["", []],
    ['["a","b c"]', ["a", "b c"]],
    ["a b", ["a b"]],
  ])("--entrypoint %j", async (text, entrypoint) => {
    expect((await argumentsOf("run", "run", "--rm", "--entrypoint", text, "img"))[1]).toMatchObject({
      entrypoint,
    });
  });

  test("output and exit code are the container's", async () => {
    const outcome = await cli(["run", "--rm", "img"], {
      cooper: {
        run: (_image, options) => {
          options?.onOutput?.("stdout", Buffer.from("out \u001b[1m"));
          options?.onOutput?.("stderr", Buffer.from("err"));
          return Promise.resolve(42);
        },
      },
    });
    expect(outcome).toMatchObject({ code: 42, stdout: "out \u001b[1m", stderr: "err" });
  });

  test.each([
    ["run img", "add --rm"],
    ["run -d --rm img", "-d is not supported yet"],
    ["run --rm -t img", "--tty needs a terminal"],
    ["run --rm -v data:/data img", "named volumes are not supported yet"],
    ["run --rm -v /a:/b:ro:z img", '--volume: "/a:/b:ro:z" is not SOURCE:TARGET'],
    ["run --rm -v /a:b img", "with an absolute TARGET"],
    ["run --rm --network bridge img", "is not one of: default, private, host, none"],
    ["run --rm --entrypoint [1] img", "is not a JSON array of strings"],
    ["run --rm", "takes at least 1 argument"],
  ])("%s is refused", async (line, message) => {
    const { code, stderr, opened } = await cli(line.split(" "));
    expect({ code, opened }).toEqual({ code: 125, opened: [] });
    expect(stderr).toContain(message);
  });
});
