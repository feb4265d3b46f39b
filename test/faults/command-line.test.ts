import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startRegistry } from "../support/registry.js";
import { execute } from "../e2e/command.js";
import type { CommandResult } from "../e2e/command.js";
import { expectFailure, expectNothingLeft, openFaultLab, PROGRAM } from "./fault-lab.js";
import type { FaultLab } from "./fault-lab.js";

let lab: FaultLab;
beforeAll(async () => {
  lab = await openFaultLab();
});
afterAll(async () => {
  await expectNothingLeft(lab);
  lab[Symbol.dispose]();
});

describe("a Containerfile that is", () => {
  const cases: readonly [string, string | Uint8Array, RegExp, string][] = [
    ["empty", "", /^Error: .*:1:1: the file has no instructions$/, ""],
    ["only a comment", "# nothing\n", /: the file has no instructions$/, ""],
    ["no text", Buffer.from([0x46, 0xff, 0xfe, 0, 1]), /^Error: .*:1:2: this is not UTF-8$/, ""],
    ["misspelt", "FROM base\nRUNN x\n", /:2:1: unknown instruction "RUNN"$/, "hint: did you mean RUN?"],
    [
      "wrong in a flag",
      "FROM base\nRUN --mont=x y\n",
      /:2:5: RUN has no flag "--mont"$/,
      "2 | RUN --mont=x y",
    ],
  ];
  test.each(cases)("%s", async (_, text, message, also) => {
    const file = lab.write({ cf: text });
    const result = await lab.run(["build", "-f", file, lab.context], { mayFail: true });
    expectFailure(result, 125, message);
    expect(result.stderr).toContain(also);
  });

  test("wrong a hundred times: every finding, one Error line", async () => {
    const text = `FROM base\n${Array.from({ length: 100 }, (_, i) => `RUNN ${i}\n`).join("")}`;
    const result = await lab.build(text);
    expectFailure(result, 125, /100|RUNN/);
    expect(result.stderr.match(/: error: unknown instruction "RUNN"/g)).toHaveLength(100);
  });

  test("a directory", async () => {
    const dir = lab.write({ "asdir/Containerfile/": "" });
    expectFailure(
      await lab.run(["build", join(dir, "..")], { mayFail: true }),
      125,
      /^Error: cannot read .*Containerfile: is a directory$/,
    );
  });

  test("missing, named or not", async () => {
    expectFailure(
      await lab.run(["build", "-f", "/no/such", lab.context], { mayFail: true }),
      125,
      /^Error: there is no Containerfile \/no\/such$/,
    );
    const empty = lab.write({ "empty/": "" });
    expectFailure(
      await lab.run(["build", empty], { mayFail: true }),
      125,
      /^Error: there is neither a Containerfile nor a Dockerfile in .*empty/,
    );
    expectFailure(
      await lab.run(["build", join(lab.dir, "nowhere")], { mayFail: true }),
      125,
      /^Error: .*nowhere/,
    );
  });

  test("stdin, good and bad", async () => {
    const build = (input: string) =>
      lab.run(["build", "-q", "-f", "-", lab.context], { input, mayFail: true });
    expect(await build("FROM base\nLABEL a=b\n")).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^[0-9a-f]{64}\n$/) as string,
    });
    expectFailure(await build("FROM base\nRUNN\n"), 125, /^Error: stdin:2:1: unknown instruction/);
    expectFailure(await build(""), 125, /^Error: stdin:1:1: the file has no instructions$/);
  });
});

describe("the context", () => {
  test("a COPY source that is missing, or that the ignore file hides", async () => {
    const missing = await lab.build("FROM base\nCOPY nofile /x\n");
    expectFailure(missing, 125, /^Error: COPY: "nofile" is not in the build context$/);
    expect(missing.stderr).toMatch(/ {2}at .*:2:1\n {2}2 \| COPY nofile \/x\n {4}\| \^{14}\n {2}hint: /);
    lab.write({
      "hidden/a.txt": "a",
      "hidden/.dockerignore": "*.txt\n",
      "hidden/Containerfile": "FROM base\nCOPY a.txt /x\n",
    });
    const hidden = await lab.run(["build", join(lab.dir, "hidden")], { mayFail: true });
    expectFailure(hidden, 125, /^Error: COPY: "a\.txt" is not in the build context$/);
    expect(hidden.stderr).toContain("hint: the file exists, but the ignore file of the context hides it");
  });

  test("an ignore file that is a directory", async () => {
    lab.write({ "odd/.dockerignore/": "", "odd/x": "x", "odd/Containerfile": "FROM base\nCOPY x /x\n" });
    const result = await lab.run(["build", join(lab.dir, "odd")], { mayFail: true });
    expectFailure(result, 125, /^Error: the ignore file \.dockerignore is not a regular file$/);
  });
});

describe("a name or flag that is wrong", () => {
  test.each([
    [["build", "-t", "a b"], /^Error: invalid image name "a b"/],
    [["build", "-t", ""], /^Error: invalid image name ""/],
    [["build", "-t", "x:"], /^Error: invalid image name "x:"/],
    [["build", "-t", "a@sha256:abc"], /^Error: invalid image name "a@sha256:abc"/],
    [["build", "--target", "nosuch"], /has no stage "nosuch"$/],
    [["build", "--jobs", "x"], /^Error: --jobs: "x" is not a whole number$/],
    [["build", "--nosuch"], /^Error: unknown flag --nosuch for "cooper build"/],
    [["build", "--build-arg", "=x"], /^Error: --build-arg: "=x" has no name before the =$/],
    [["build", "-o", "type=zip,dest=x"], /^Error: --output: type "zip"/],
  ] as const)("%j", async (args, message) => {
    const file = lab.write({ plain: "FROM base\n" });
    expectFailure(await lab.run([...args, "-f", file, lab.context], { mayFail: true }), 125, message);
  });

  test.each([
    [["inspect", "nosuch"], /^Error: there is no image nosuch in the store$/],
    [["tag", "base", "BAD"], /^Error: invalid image name "BAD"/],
    [["load", "-i", "/no/such"], /^Error: cannot read \/no\/such: no such file or directory$/],
    [["load", "-i", "/bin/busybox"], /^Error: cannot read \/bin\/busybox: it is not a tar archive$/],
    [["load"], /^Error: stdin is neither an OCI archive nor a docker archive$/],
    [["run", "--rm", "-v", "/no/such:/x", "base"], /^Error: volume source \/no\/such does not exist$/],
    [["run", "--rm", "-u", "nobody", "base"], /^Error: user "nobody" is not in the image's \/etc\/passwd$/],
  ] as const)("%j", async (args, message) => {
    expectFailure(await lab.run(args, { mayFail: true }), 125, message);
  });
});

test("rmi has exit codes of its own, as podman has", async () => {
  expectFailure(await lab.run(["rmi", "nosuch"], { mayFail: true }), 1, /^Error: there is no image nosuch/);
  expect(await lab.run(["rmi", "--force", "nosuch"])).toMatchObject({ stdout: "", stderr: "" });
});

test("a registry that refuses the login", async () => {
  await using registry = await startRegistry({ htpasswd: { user: "right", password: "secret-1" } });
  const credentials = ["--tls-verify=false", "--authfile", join(lab.dir, "auth.json")];
  const login = ["login", ...credentials, "-u", "wrong", "--password-stdin", registry.host];
  const refused = await lab.run(login, { input: "secret-2\n", mayFail: true });
  expectFailure(refused, 125, /^Error: .*127\.0\.0\.1:\d+/);
  expect(refused.stderr).not.toContain("secret-2");
  expect(existsSync(join(lab.dir, "auth.json"))).toBe(false);
  const wrong = ["--tls-verify=false", "--creds", "wrong:secret-2"];
  const build = await lab.build(`FROM ${registry.host}/private:1\n`, wrong);
  expectFailure(build, 125, /^Error: .*127\.0\.0\.1:\d+/);
  expect(build.stderr).toMatch(/ {2}at .*:1:6\n/);
  const push = await lab.run(["push", ...wrong, "base", `${registry.host}/base:1`], { mayFail: true });
  expectFailure(push, 125, /^Error: .*127\.0\.0\.1:\d+/);
});

describe("the exit code of a process is cooper's", () => {
  test.each([
    ["RUN exit 42", 42],
    ['RUN ["/nope"]', 127],
    ['RUN ["/bin"]', 126],
    ["RUN sh -c 'kill -TERM $$; :'; exit $?", 143],
  ])("%s ends with %d", async (step, status) => {
    const result = await lab.build(`FROM base\n${step}\n`);
    expectFailure(result, status, /^Error: building at STEP "RUN /);
    expect(result.stderr).toMatch(/ {2}at .*:2:1\n/);
  });

  test.each([
    [["sh", "-c", "exit 7"], 7],
    [["nope"], 127],
    [["/etc"], 126],
  ])("run --rm base %j ends with %d", async (args, status) => {
    expect((await lab.run(["run", "--rm", "base", ...args], { mayFail: true })).status).toBe(status);
  });
});

test("a background process of a RUN does not survive it", async () => {
  const sleeper = `sleep ${lab.marker}`;
  const result = await lab.build(
    `FROM base\nRUN ${sleeper} & (trap "" TERM HUP; setsid ${sleeper}) & echo started\nRUN ps\n`,
    ["--no-cache"],
  );
  expect(result).toMatchObject({ status: 0 });
  expect(result.stdout + result.stderr).toContain("started");
});

describe("a base that cannot be had", () => {
  test.each([
    [
      ["--pull=never"],
      "nosuch.invalid/x:1",
      /^Error: image nosuch\.invalid\/x:1 is not stored here, and pulling is off$/,
    ],
    [["--retry=0"], "127.0.0.1:1/x:1", /^Error: cannot reach https:\/\/127\.0\.0\.1:1: connection refused$/],
  ] as const)("%j FROM %s", async (args, base, message) => {
    const result = await lab.build(`FROM ${base}\n`, args);
    expectFailure(result, 125, message);
    expect(result.stderr).toMatch(/ {2}at .*:1:6\n/);
  });
});

describe("a place where nothing can be written", () => {
  const plain = () => lab.write({ plain: "FROM base\n" });

  // mkdir in /proc answers ENOENT although /proc is there, which Node's recursive mkdir never gets over.
  test.each(["oci", "docker", "local"])("--output type=%s", async (type) => {
    for (const dest of ["/proc/x", "/proc/x/y"]) {
      const args = ["build", "-f", plain(), "-o", `type=${type},dest=${dest}`, lab.context];
      expectFailure(await lab.run(args, { mayFail: true }), 125, /^Error: cannot write \/proc\/x/);
    }
  });

  test("--iidfile", async () => {
    const args = ["build", "-f", plain(), "--iidfile", "/no/such/file", lab.context];
    expectFailure(
      await lab.run(args, { mayFail: true }),
      125,
      /^Error: cannot write \/no\/such\/file: no such file or directory$/,
    );
  });

  test("save", async () => {
    for (const [args, message] of [
      [["-o", "/no/such/file"], /^Error: cannot write \/no\/such\/file: no such file or directory$/],
      [["-o", lab.dir], /^Error: cannot write .*: is a directory$/],
      [["-o", "/dev/full"], /^Error: cannot write \/dev\/full: no space left on device$/],
      [
        ["--format", "oci-dir", "-o", "/proc/x/y"],
        /^Error: cannot write \/proc\/x\/y: no such file or directory$/,
      ],
    ] as const)
      expectFailure(await lab.run(["save", ...args, "base"], { mayFail: true }), 125, message);
    expect(readdirSync(join(lab.dir, "..")).filter((name) => name.includes(".cooper-"))).toEqual([]);
  });
});

test("save writes into a pipe and through a link, and replaces neither", async () => {
  const fifo = join(lab.dir, "fifo");
  execFileSync("mkfifo", [fifo]);
  await Promise.all([
    lab.run(["save", "-o", fifo, "base"]),
    execute("sh", ["-c", 'cat < "$1" > "$1.got"', "sh", fifo]),
  ]);
  expect(lstatSync(fifo).isFIFO()).toBe(true);
  const link = join(lab.dir, "link.tar");
  writeFileSync(join(lab.dir, "real.tar"), "");
  symlinkSync("real.tar", link);
  await lab.run(["save", "-o", link, "base"]);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(readFileSync(link).equals(readFileSync(`${fifo}.got`))).toBe(true);
});

test("save to a reader that goes away says so", async () => {
  const child = lab.start(["save", "base"]);
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout?.once("data", () => child.stdout?.destroy());
  const status = await new Promise((resolve) => child.once("close", resolve));
  expect({ status, stderr }).toEqual({
    status: 125,
    stderr: "Error: cannot write the whole archive to stdout: its reader went away\n",
  });
});

describe("a store that is", () => {
  const images = (root: string) => lab.run(["--root", root, "images"], { mayFail: true });

  test("another program's directory, a file, below /proc, below a dangling link, nameless", async () => {
    const file = lab.write({ plain: "FROM base\n" });
    symlinkSync("/no/such/place", join(lab.dir, "dangling"));
    expectFailure(await images(lab.context), 125, /is not a store of cooper and not empty$/);
    expect(readdirSync(lab.context)).toEqual(["busybox"]);
    expectFailure(await images(file), 125, /is not a directory$/);
    expectFailure(
      await images("/proc/x"),
      125,
      /^Error: cannot open the store \/proc\/x: no such file or directory$/,
    );
    expectFailure(
      await images(join(lab.dir, "dangling/x")),
      125,
      /dangling: a link that leads nowhere has that name$/,
    );
    expectFailure(await images(""), 125, /^Error: --root: an empty name is no directory$/);
  });

  test("root's, opened by an ordinary user; or where that user may not write", async () => {
    chmodSync(lab.dir, 0o755);
    expectFailure(await imagesAsNobody(lab.root), 125, /^Error: the store .* belongs to root$/);
    const locked = lab.write({ "locked/": "" });
    chmodSync(locked, 0o755);
    expectFailure(
      await imagesAsNobody(join(locked, "new")),
      125,
      /^Error: cannot open the store .*new: permission denied$/,
    );
    expect(statSync(lab.root).mode & 0o777).toBe(0o700);
  });
});

/** The user may reach neither the checkout nor root's Node. */
async function imagesAsNobody(root: string): Promise<CommandResult> {
  const dist = join(lab.dir, "dist");
  const node = join(lab.dir, "node");
  await execute("cp", ["-r", dirname(PROGRAM), dist]);
  await execute("cp", ["-L", process.execPath, node]);
  const ids = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
  const args = [...ids, node, join(dist, "cooper.cjs"), "images"];
  return execute("setpriv", args, { mayFail: true, cwd: "/", env: { COOPER_ROOT: root, HOME: "/" } });
}
