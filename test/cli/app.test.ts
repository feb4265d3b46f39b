import { describe, expect, test } from "vitest";
import { fromWire, toWire } from "../../src/api/wire.js";
import type { WireError } from "../../src/api/wire.js";
import { summaries } from "../../src/cli/commands/catalogue.js";
import { exitCodeOf, renderFailure } from "../../src/cli/failure.js";
import { CooperError } from "../../src/errors.js";
import { cli } from "./fake-world.js";

test.each([["--version"], ["-v"]])("%s", async (flag) => {
  expect(await cli([flag])).toMatchObject({ code: 0, stdout: "cooper version 1.2.3\n", opened: [] });
});

test("version", async () => {
  expect((await cli(["version"])).stdout).toMatch(
    /^Version: {2}1\.2\.3\nNode\.js: {2}v\d+.*\nOS\/Arch: {2}linux\//,
  );
});

test("help shows the commands on stdout", async () => {
  const { code, stdout } = await cli(["--help"]);
  expect(code).toBe(0);
  expect(stdout).toMatchSnapshot();
  for (const form of ["help", "-h"]) expect((await cli([form])).stdout).toBe(stdout);
});

test("no command at all is a mistake that shows the same help on stderr", async () => {
  const { code, stdout, stderr } = await cli([]);
  expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
  expect(stderr).toBe((await cli(["--help"])).stdout);
});

test.each(Object.keys(summaries))("help %s", async (name) => {
  const words = name.split(" ");
  const { code, stdout, opened } = await cli(["help", ...words]);
  expect({ code, opened }).toEqual({ code: 0, opened: [] });
  expect(stdout).toMatchSnapshot();
  expect((await cli([...words, "--help"])).stdout).toBe(stdout);
  expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
});

test("-h is help, except in run, where it is the host name as in podman", async () => {
  expect((await cli(["build", "-h"])).stdout).toBe((await cli(["help", "build"])).stdout);
  expect((await cli(["image", "ls", "-h"])).stdout).toBe((await cli(["help", "images"])).stdout);
  expect((await cli(["run", "-h", "box", "--rm", "img"])).calls[0]?.args[1]).toMatchObject({
    hostname: "box",
  });
});

test.each([
  [["biuld", "."], 'unknown command "biuld" for "cooper"; did you mean "build"?'],
  [["xyzzy"], 'unknown command "xyzzy" for "cooper"'],
  [["constructor"], 'unknown command "constructor" for "cooper"'],
  [["context"], '"cooper context" needs one of these behind it: list, ls'],
  [["context", "rm"], 'unknown command "context rm" for "cooper"'],
  [["context ls"], 'unknown command "context ls" for "cooper"; did you mean "context ls"?'],
  [["image", "prune"], 'unknown command "image prune" for "cooper"'],
  [["ps", "-a"], '"cooper ps" is not supported yet'],
  [["untag", "x"], '"cooper untag" is not supported yet'],
  [["help", "xyzzy"], 'unknown command "xyzzy" for "cooper"'],
  [["--foo", "build"], 'unknown flag --foo for "cooper"'],
  [["a\u001b[2J\nb"], 'unknown command "a\\x1b[2J\\nb" for "cooper"'],
])("%j", async (argv, message) => {
  expect(await cli(argv)).toMatchObject({ code: 125, stdout: "", stderr: `Error: ${message}\n`, opened: [] });
});

test("--root may stand before or after the command", async () => {
  expect((await cli(["--root", "/r", "images"])).opened).toEqual([{ root: "/r" }]);
  expect((await cli(["images", "--root=/r"])).opened).toEqual([{ root: "/r" }]);
  expect((await cli(["images"])).opened).toEqual([{}]);
});

test("X11: an error is one line that only shows", () => {
  const error = new CooperError("not-found", "no\u001b[2J\nSuccessfully tagged \u202ex", { hint: "a\nb" });
  expect(renderFailure(error, { debug: false })).toBe(
    "Error: no\\x1b[2J\\nSuccessfully tagged \\u202ex\n  hint: a\\nb\n",
  );
});

describe("an error with a place in a Containerfile", () => {
  const text = "FROM scratch\nADD --x=y https://me:secret@example.test/f /\n";
  const source = { name: "Containerfile", text };
  const span = { start: 17, end: 22, line: 2, column: 5, endLine: 2 };
  const line = "ADD --x=y https://*********@example.test/f /";

  test("shows the line, without the credentials in it", () => {
    const error = new CooperError("unsupported", "no --x", { source, span, hint: "leave it out" });
    expect(renderFailure(error, { debug: false })).toBe(
      `Error: no --x\n  at Containerfile:2:5\n  2 | ${line}\n    |     ^^^^^\n  hint: leave it out\n`,
    );
    expect(fromWire(toWire(error) as WireError)).toMatchObject({ excerpt: error.excerpt });
  });

  test("says a hint once", () => {
    const found = { code: "flag", severity: "error", message: "no --x", span, hint: "leave it out" } as const;
    const error = new CooperError("syntax", "Containerfile:2:5: no --x", {
      source,
      span,
      hint: "leave it out",
      diagnostics: [found],
    });
    expect(renderFailure(error, { debug: false })).toBe(
      `Containerfile:2:5: error: no --x\n2 | ${line}\n  |     ^^^^^\nhint: leave it out\n\nError: Containerfile:2:5: no --x\n`,
    );
  });

  test("does not show the instruction of a step that failed", () => {
    const error = new CooperError("run-failed", "exit status 1", { source, span });
    expect(renderFailure(error, { debug: false })).toBe("Error: exit status 1\n  at Containerfile:2:5\n");
  });
});

test("stacks are for COOPER_DEBUG=1 only", async () => {
  const cooper = { tag: () => Promise.reject(new Error("boom", { cause: new Error("deep") })) };
  const quiet = await cli(["tag", "a", "b"], { cooper });
  expect(quiet).toMatchObject({
    code: 125,
    stderr: "Error: internal error: boom\n  hint: this is a bug in cooper; COOPER_DEBUG=1 shows where\n",
  });
  const { stderr } = await cli(["tag", "a", "b"], { cooper, env: { COOPER_DEBUG: "1" } });
  expect(stderr).toMatch(/^Error: internal error: boom\nError: boom\n {4}at /);
  expect(stderr).toContain("caused by Error: deep\n");
});

test("when closing fails too, the first error is the one to tell", async () => {
  const cooper = {
    tag: () => Promise.reject(new CooperError("run-failed", "first", { exitCode: 3 })),
    [Symbol.asyncDispose]: () => Promise.reject(new Error("second")),
  };
  expect(await cli(["tag", "a", "b"], { cooper })).toMatchObject({ code: 3, stderr: "Error: first\n" });
  expect(exitCodeOf("a string")).toBe(125);
});
