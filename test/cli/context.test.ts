import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cooper, execute } from "../e2e/command.js";
import { argumentsOf, cli } from "./fake-world.js";

describe("context ls", () => {
  test("--ignorefile of a build is relative to the current directory", async () => {
    const [options] = await argumentsOf("build", "build", "--ignorefile", "ci/ignore", "app");
    expect(options).toMatchObject({ contextDir: "/here/app", ignoreFile: "/here/ci/ignore" });
  });

  test.each([
    [["-f", "app"], "no context directory given; for the current one: cooper context ls -f FILE ."],
    [["-"], '"cooper context ls" looks only at directories, not at -'],
    [["https://h/x.git"], '"cooper context ls" looks only at directories, not at https://h/x.git'],
  ])("%j is refused", async (args, message) => {
    expect(await cli(["context", "ls", ...args])).toMatchObject({ code: 125, stderr: `Error: ${message}\n` });
  });
});

describe("the bundled command", () => {
  let dir: string;
  const context = (): string => join(dir, "context");
  const write = (path: string, text = ""): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
    chmodSync(join(dir, path), 0o644);
  };
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "cooper-context-ls-"));
    write("context/.containerignore", "# built\n*.o\nlib\n!lib/keep\n\n src/*.c \n!src/main.c\nempty\n");
    for (const path of ["a.c", "x.o", "lib/keep/k", "lib/other", "src/a.c", "src/main.c", "é"])
      write(`context/${path}`, path);
    mkdirSync(join(context(), "empty"));
    symlinkSync("x.o", join(context(), "link"));
    for (const path of ["lib", "lib/keep", "src"]) chmodSync(join(context(), path), 0o755);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const ls = (...args: string[]) =>
    cooper(["context", "ls", ...args], { root: join(dir, "root"), mayFail: true });

  test("lists what a build sees, sorted, and writes nothing", async () => {
    expect(await ls(context())).toMatchObject({
      status: 0,
      stdout: ".containerignore\na.c\nlib/\nlib/keep/\nlib/keep/k\nlink\nsrc/\nsrc/main.c\né\n",
      stderr: "6 files, 3 directories, 80 B; ignore file: .containerignore\n",
    });
    expect(existsSync(join(dir, "root"))).toBe(false);
    expect((await ls("--long", context())).stdout).toBe(
      [
        "-rw-r--r--     55 B .containerignore",
        "-rw-r--r--      3 B a.c",
        "drwxr-xr-x        - lib/",
        "drwxr-xr-x        - lib/keep/",
        "-rw-r--r--     10 B lib/keep/k",
        "lrwxrwxrwx        - link -> x.o",
        "drwxr-xr-x        - src/",
        "-rw-r--r--     10 B src/main.c",
        "-rw-r--r--      2 B é",
        "",
      ].join("\n"),
    );
    const listing = JSON.parse((await ls("--json", context())).stdout) as { readonly entries: object[] };
    expect(listing).toMatchObject({ ignoreFile: ".containerignore" });
    expect(listing.entries[5]).toEqual({
      path: "link",
      type: "symlink",
      mode: 0o777,
      size: 0,
      target: "x.o",
    });
  });

  test.each<[string, string, number]>([
    ["x.o", "x.o is hidden by .containerignore:2: *.o", 1],
    ["/./x.o", "x.o is hidden by .containerignore:2: *.o", 1],
    ["src/a.c", "src/a.c is hidden by .containerignore:6: src/*.c", 1],
    ["src/main.c", "src/main.c is visible: .containerignore:7: !src/main.c", 0],
    ["a.c", "a.c is visible: no line hides it", 0],
    [".", ". is visible: no line hides it", 0],
    ["lib/other", "lib/other is hidden because its parent lib/ is hidden by .containerignore:3: lib", 1],
    ["lib", "lib is visible for what it holds; by itself it is hidden by .containerignore:3: lib", 0],
    ["lib/keep", "lib/keep is visible: .containerignore:4: !lib/keep", 0],
    ["lib/keep/k", "lib/keep/k is visible because its parent lib/keep/ is: .containerignore:4: !lib/keep", 0],
    ["empty", "empty is hidden by .containerignore:8: empty", 1],
    ["none/x", "none/x does not exist", 1],
    ["link/x", "link/x does not exist", 1],
  ])("--why %s", async (path, line, status) => {
    expect(await ls("--why", path, context())).toMatchObject({ status, stdout: `${line}\n`, stderr: "" });
  });

  test("--why of several paths says no when one is not seen", async () => {
    const why = await ls("--why", "a.c", "--why", "x.o", "--json", context());
    expect(why.status).toBe(1);
    expect(JSON.parse(why.stdout)).toEqual([
      { path: "a.c", outcome: "visible", ignoreFile: ".containerignore" },
      {
        path: "x.o",
        outcome: "hidden",
        ignoreFile: ".containerignore",
        line: { where: ".containerignore:2", text: "*.o" },
      },
    ]);
  });

  test("a socket, and a context without an ignore file", async () => {
    rmSync(join(context(), ".containerignore"));
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(context(), "app.sock"), resolve));
    const why = await ls("--why", "app.sock", "--why", "x.o", context());
    expect(why).toMatchObject({
      status: 1,
      stdout: "app.sock is left out: an image cannot hold sockets\nx.o is visible: there is no ignore file\n",
    });
    expect((await ls(context())).stdout).not.toContain("app.sock");
    await new Promise((resolve) => server.close(resolve));
  });

  test("the Containerfile's own ignore file, the named one, and a warning when there was a choice", async () => {
    write("ci/app.Containerfile", "FROM scratch\n");
    write("ci/app.Containerfile.dockerignore", "*\n!a.c\n");
    write("named", "*\n");
    const own = await ls("-f", join(dir, "ci/app.Containerfile"), context());
    expect(own).toMatchObject({ status: 0, stdout: "a.c\n" });
    const name = `${dir}/ci/app.Containerfile.dockerignore`;
    expect(own.stderr).toBe(
      `Warning: ${name} is the ignore file of this build; .containerignore is not read\n` +
        `1 file, 0 directories, 3 B; ignore file: ${name}\n`,
    );
    expect(await ls("--ignorefile", join(dir, "named"), context())).toMatchObject({
      stdout: "",
      stderr: `0 files, 0 directories, 0 B; ignore file: ${dir}/named\n`,
    });
  });

  test("names cannot steer the terminal", async () => {
    rmSync(context(), { recursive: true });
    write("context/a\u001b[2J\nb", "x");
    chmodSync(join(context(), "a\u001b[2J\nb"), 0o4755);
    expect(await ls("-l", context())).toMatchObject({
      stdout: "-rwsr-xr-x      1 B a\\x1b[2J\\nb\n",
      stderr: "1 file, 0 directories, 1 B; ignore file: none\n",
    });
  });

  test("the context is the current directory when none is given, and paths are relative to it", async () => {
    write("named", "*\n!*.c\n");
    const words = ["context", "ls", "--ignorefile", "../named"];
    const program = fileURLToPath(new URL("../../dist/cooper.cjs", import.meta.url));
    const { stdout } = await execute(process.execPath, [program, ...words], { cwd: context() });
    expect(stdout).toBe("a.c\n");
  });

  test.each([
    [["-f", "none"], "Error: there is no Containerfile none\n"],
    [["--ignorefile", "/none/x"], "Error: there is no ignore file /none/x\n"],
  ])("%j fails", async (args, stderr) => {
    expect(await ls(...args, context())).toMatchObject({ status: 125, stdout: "", stderr });
  });

  test("a malformed line is told with its place", async () => {
    write("context/.containerignore", "ok\n[a-\n");
    expect(await ls(context())).toMatchObject({
      status: 125,
      stderr: 'Error: .containerignore:2: the ignore pattern "[a-" is malformed\n',
    });
  });
});
