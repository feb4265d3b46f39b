import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { explainRefusal, explainStart } from "../../src/runtime/explain.js";
import { probe } from "../../src/runtime/index.js";
import { bundleProgram, childPath, requireSandbox } from "./support.js";

let dir: string;
beforeAll(() => {
  requireSandbox();
  dir = mkdtempSync(join(tmpdir(), "cooper-probe-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("a machine that can", async () => {
  const result = await probe({ childPath, scratchDir: dir, userNamespace: false });
  expect(result.refusal).toBeUndefined();
  expect(result.kernel).toMatch(/^\d+\.\d+/);
  expect(readdirSync(dir)).toEqual([]);
});

describe("a machine that cannot: one error that names the call and what to change", () => {
  let program: string;
  beforeAll(async () => {
    mkdirSync(join(dir, "program"));
    program = await bundleProgram(
      join(dir, "program"),
      `import { probe } from "./src/runtime/index.js";
      const { refusal } = await probe({ childPath: ${JSON.stringify(childPath)}, scratchDir: process.argv[2], userNamespace: process.argv[3] === "inside" });
      console.log(refusal === undefined ? "works" : refusal.code + ": " + refusal.message + " | " + refusal.hint);`,
    );
  });

  /** Runs the probe as root with some capabilities taken away. */
  function without(capabilities: string): string {
    const scratch = mkdtempSync(join(dir, "scratch-"));
    const { stdout, stderr } = spawnSync(
      "setpriv",
      [`--bounding-set=${capabilities}`, "--", process.execPath, program, scratch],
      { encoding: "utf8" },
    );
    return stdout + stderr;
  }

  test("no right to make namespaces", () => {
    expect(without("-sys_admin")).toMatch(
      /^sandbox: cannot start a sandbox: .*unshare failed: Operation not permitted \| .*--privileged/,
    );
  });

  test("no right to change users", () => {
    expect(without("-setgid")).toMatch(
      /^sandbox: cannot become user 0:0: setgroups 0: operation not permitted \(EPERM\)/,
    );
  });

  test("an upper directory that no overlay takes", () => {
    expect(
      explainRefusal({
        doing: "mount the root file system",
        call: "mount",
        errno: "EINVAL",
        path: "overlay",
        message: "",
      }).hint,
    ).toMatch(/--root/);
  });

  test("util-linux is missing", () => {
    expect(explainStart("spawn setpriv ENOENT")).toMatchObject({
      code: "sandbox",
      hint: "install the package util-linux",
    });
  });
});
