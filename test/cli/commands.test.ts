import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CooperError } from "../../src/errors.js";
import { built, cli, details, digest, output, step, summary } from "./fake-world.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-cli-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** The arguments of the only call of a method. */
async function argumentsOf(method: string, ...argv: string[]): Promise<readonly unknown[]> {
  const { calls, stderr } = await cli(argv);
  expect(stderr).toBe("");
  const [call] = calls.filter((made) => made.method === method);
  expect(calls.at(-1)?.method).toBe("dispose");
  return call?.args ?? [];
}

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
      ..."--retry=5 -o type=oci,dest=out.tar --output rootfs -q ctx".split(" "),
    );
    expect(options).toEqual({
      contextDir: "/here/ctx",
      file: "ci/File",
      tags: ["a", "b:1"],
      target: "s",
      buildArgs: { A: "b=c", B: undefined },
      labels: { x: "y", z: "" },
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
    ["build --secret id=x .", "--secret is not supported yet"],
    ["build --platform linux/arm64 .", "--platform is not supported yet"],
    ["build -v a:b .", "-v is not supported yet"],
    ["build --layers=false .", "--layers=false is not supported yet"],
    ["build --format docker .", '--format: "docker" is not one of: oci'],
    ["build -o type=tar,dest=x .", 'type "tar" is not supported yet'],
    ["build -o type=oci .", "does not say where"],
    ["build -o type=local,dest=- .", "cannot be written to stdout"],
    ["build -o type=oci,dets=x .", "is not type=oci|docker|local,dest=PATH"],
    ["build --build-arg =x .", "has no name before the ="],
    ["build --creds me .", "--creds needs USER:PASSWORD"],
    ["build -f x", "no context directory given"],
    ["build https://host/x.git", "not a directory is not supported yet"],
    ["build -", "not a directory is not supported yet"],
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
    ["run --rm -v /a:/b:z img", 'the option "z" is not supported yet'],
    ["run --rm -v /a:b img", "with an absolute TARGET"],
    ["run --rm --network bridge img", "is not one of: host, none"],
    ["run --rm --entrypoint [1] img", "is not a JSON array of strings"],
    ["run --rm", "takes at least 1 argument"],
  ])("%s is refused", async (line, message) => {
    const { code, stderr, opened } = await cli(line.split(" "));
    expect({ code, opened }).toEqual({ code: 125, opened: [] });
    expect(stderr).toContain(message);
  });
});

describe("images", () => {
  test.each([
    [
      "images",
      "REPOSITORY       TAG         IMAGE ID      CREATED      SIZE\nlocalhost/hello  latest      aaaaaaaaaaaa  2 hours ago  214 MB\n",
    ],
    ["image ls -n", "localhost/hello  latest      aaaaaaaaaaaa  2 hours ago  214 MB\n"],
    ["images -q", "aaaaaaaaaaaa\n"],
    ["images -q --no-trunc hello", `${digest("a")}\n`],
    ["images -q localhost/hello:latest", "aaaaaaaaaaaa\n"],
    ["images -q ello", ""],
    [
      "images -n --digests",
      `localhost/hello  latest      ${digest("d")}  aaaaaaaaaaaa  2 hours ago  214 MB\n`,
    ],
  ])("%s", async (line, stdout) => {
    expect(await cli(line.split(" "))).toMatchObject({ code: 0, stdout, stderr: "" });
  });

  test("-a asks for steps too, and json is an array", async () => {
    const { stdout, calls } = await cli(["images", "-a", "--format=json"]);
    expect(calls[0]).toEqual({ method: "images", args: [{ all: true }] });
    expect(JSON.parse(stdout)).toEqual([
      expect.objectContaining({ Id: "a".repeat(64), Names: ["localhost/hello:latest"], Size: summary.size }),
    ]);
  });
});

test("inspect prints what it found and fails for what it did not", async () => {
  const { code, stdout, stderr } = await cli(["inspect", "hello", "nope"], {
    cooper: {
      inspect: (name) =>
        name === "hello"
          ? Promise.resolve(details)
          : Promise.reject(new CooperError("not-found", `${name}: image not known`)),
    },
  });
  expect({ code, stderr }).toEqual({ code: 125, stderr: "Error: nope: image not known\n" });
  expect(stdout).toMatchInlineSnapshot(`
    "[
         {
              "Id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
              "Digest": "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
              "RepoTags": [
                   "localhost/hello:latest"
              ],
              "RepoDigests": [
                   "localhost/hello@sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
              ],
              "Created": "2026-01-02T10:00:00Z",
              "Author": "",
              "Config": {
                   "Env": [
                        "A=b"
                   ],
                   "Cmd": [
                        "/bin/sh"
                   ],
                   "Labels": {
                        "x": "y"
                   }
              },
              "Architecture": "amd64",
              "Os": "linux",
              "Size": 213900000,
              "RootFS": {
                   "Type": "layers",
                   "Layers": []
              },
              "Labels": {
                   "x": "y"
              },
              "User": "",
              "History": [
                   {
                        "created_by": "COPY . /",
                        "created": "2026-01-02T10:00:00Z"
                   }
              ]
         }
    ]
    "
  `);
});

test("history", async () => {
  const row = { id: digest("a"), created: "2026-01-02T11:00:00Z", createdBy: "RUN x", size: 10, comment: "" };
  const cooper = { history: () => Promise.resolve([row, { createdBy: "FROM", size: 0, comment: "c" }]) };
  expect((await cli(["history", "-q", "x"], { cooper })).stdout).toBe("aaaaaaaaaaaa\n<missing>\n");
  expect((await cli(["history", "x"], { cooper })).stdout).toMatch(
    /^ID .*\naaaaaaaaaaaa {2}About an hour ago {2}RUN x/,
  );
  expect(JSON.parse((await cli(["history", "--format", "json", "x"], { cooper })).stdout)).toEqual([
    { id: "a".repeat(64), created: "2026-01-02T11:00:00Z", CreatedBy: "RUN x", size: 10, comment: "" },
    { id: "<missing>", created: null, CreatedBy: "FROM", size: 0, comment: "c" },
  ]);
});

describe("names", () => {
  test("tag", async () => {
    expect(await argumentsOf("tag", "tag", "hello", "a", "b:1")).toEqual(["hello", ["a", "b:1"]]);
    expect((await cli(["tag", "hello"])).stderr).toBe(
      'Error: "cooper tag" takes at least 2 arguments, 1 given\n  hint: usage: cooper tag IMAGE NAME [NAME...]\n',
    );
  });

  test("rmi", async () => {
    expect(await argumentsOf("remove", "rmi", "-f", "a", "b")).toEqual([
      ["a", "b"],
      { force: true, all: false },
    ]);
    expect((await cli(["image", "rm", "a"])).stdout).toBe(
      `Untagged: localhost/hello:latest\nDeleted: ${"a".repeat(64)}\n`,
    );
    expect(await argumentsOf("remove", "rmi", "-af")).toEqual([[], { force: true, all: true }]);
    expect((await cli(["rmi"])).code).toBe(125);
    expect((await cli(["rmi", "-a", "x"])).code).toBe(125);
  });
});

describe("archives", () => {
  test("save", async () => {
    const signal = expect.any(AbortSignal) as AbortSignal;
    expect(await argumentsOf("save", "save", "a", "b")).toEqual([
      ["a", "b"],
      { format: "docker-archive", dest: "-", signal },
    ]);
    expect(await argumentsOf("save", "save", "--format", "oci-dir", "-o", "out", "a")).toEqual([
      ["a"],
      { format: "oci-dir", dest: "/here/out", signal },
    ]);
    expect((await cli(["save", "a"], { terminal: true })).stderr).toContain(
      "refusing to write an archive to the terminal",
    );
    expect((await cli(["save", "--format=oci-dir", "a"])).stderr).toContain("needs --output DIR");
    expect((await cli(["save", "--format=dir", "a"])).stderr).toContain("is not one of");
  });

  test("load", async () => {
    expect(await argumentsOf("load", "load")).toEqual(["-", { signal: expect.any(AbortSignal) }]);
    expect(await argumentsOf("load", "load", "-i", "x.tar")).toEqual([
      "/here/x.tar",
      { signal: expect.any(AbortSignal) },
    ]);
    expect((await cli(["load"])).stdout).toBe("Loaded image: localhost/hello:latest\n");
    expect((await cli(["load"], { terminal: true })).stderr).toContain(
      "cannot read an archive from the terminal",
    );
  });
});

describe("registries", () => {
  test("pull prints the id", async () => {
    const { stdout, calls } = await cli(["pull", "--tls-verify=false", "docker://host/a", "oci:1"]);
    expect(calls.filter(({ method }) => method === "pull").map(({ args }) => args[0])).toEqual([
      "host/a",
      "oci:1",
    ]);
    expect(calls[0]?.args[1]).toMatchObject({ tlsVerify: false });
    expect(stdout).toBe(`${"a".repeat(64)}\n`.repeat(2));
    expect((await cli(["pull", "oci-archive:/tmp/x"])).stderr).toContain(
      'the transport "oci-archive:" is not supported',
    );
  });

  test("push", async () => {
    expect(await argumentsOf("push", "push", "-q", "a")).toEqual(["a", undefined, expect.anything()]);
    const { code, stdout } = await cli(["push", "--digestfile", "d", "a", "docker://host/b"], { cwd: dir });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(readFileSync(join(dir, "d"), "utf8")).toBe(digest("e"));
  });

  test("login asks for what is missing and never shows the password", async () => {
    const { stdout, stderr, calls, questions } = await cli(["login", "host"], {
      terminal: true,
      stdin: ["me", "s3cret"],
    });
    expect(stderr).toBe("Username: Password: ");
    expect(stdout).toBe("Login Succeeded!\n");
    expect(questions).toEqual([{ secret: false }, { secret: true }]);
    expect(calls.find(({ method }) => method === "login")?.args.slice(0, 2)).toEqual([
      "host",
      { username: "me", password: "s3cret" },
    ]);
  });

  test("login offers the user who is logged in", async () => {
    const { stderr, calls } = await cli(["login", "host"], {
      terminal: true,
      stdin: ["", "pw"],
      cooper: { loggedIn: () => Promise.resolve("old") },
    });
    expect(stderr).toBe("Username (old): Password: ");
    expect(calls.find(({ method }) => method === "login")?.args[1]).toEqual({
      username: "old",
      password: "pw",
    });
  });

  test("login takes the password from stdin, without its line break", async () => {
    const { calls } = await cli(["login", "-u", "me", "--password-stdin", "host"], { stdin: ["p\nw\r\n"] });
    expect(calls.find(({ method }) => method === "login")?.args[1]).toEqual({
      username: "me",
      password: "p\nw",
    });
  });

  test.each([
    [["login", "--password-stdin", "host"], "--password-stdin needs --username"],
    [["login", "-u", "a", "-p", "b", "--password-stdin", "host"], "not both"],
    [["login", "-u", "a", "host"], "stdin is not a terminal"],
    [["login", "-u", "a", "--password-stdin", "host"], "the password is empty"],
    [["login", "--get-login", "host"], "not logged into host"],
    [["login"], "takes exactly 1 argument, 0 given"],
    [["logout"], "give one HOST, or --all"],
    [["logout", "-a", "x"], "give one HOST, or --all"],
  ])("%j", async (argv, message) => {
    const { code, stderr } = await cli(argv);
    expect(code).toBe(125);
    expect(stderr).toContain(message);
  });

  test("--get-login and logout", async () => {
    const cooper = { loggedIn: () => Promise.resolve("me") };
    expect((await cli(["login", "--get-login", "host"], { cooper })).stdout).toBe("me\n");
    expect((await cli(["logout", "host"])).stdout).toBe("Removed login credentials for host\n");
    expect(await argumentsOf("logout", "logout", "--all")).toEqual(["all", {}]);
  });
});
