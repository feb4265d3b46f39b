import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cli } from "./fake-world.js";

test("parse shows an outline, and every error with its place", async () => {
  const good = await cli(["parse", "-"], { stdin: ["FROM a\nRUN b\n"] });
  expect(good).toMatchObject({ code: 0, stderr: "" });
  expect(good.stdout).toBe("    1  FROM         FROM a\n    2  RUN          RUN b\n");
  const bad = await cli(["parse", "-"], { stdin: ["FROM a\nRNU b\nENV c\n"] });
  expect(bad.code).toBe(1);
  expect(bad.stderr).toContain('stdin:2:1: error: unknown instruction "RNU"');
  expect(bad.stderr).toContain("hint: did you mean RUN?");
  expect(bad.stderr).toContain("stdin:3:5: error: ENV needs a value after the name");
});

test("parse --json prints the AST and the diagnostics", async () => {
  const { stdout } = await cli(["parse", "--json", "-"], { stdin: ["FROM a\n# b\n"] });
  expect(JSON.parse(stdout)).toMatchObject({
    file: { instructions: [{ kind: "FROM" }], comments: [{ text: "b" }] },
    diagnostics: [],
  });
});

test("parse refuses a file that is no UTF-8, with the place", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cooper-parse-"));
  try {
    const file = join(dir, "Containerfile");
    writeFileSync(file, Buffer.concat([Buffer.from("FROM a\nRUN é"), Buffer.from([0xff, 0x0a])]));
    const { code, stdout, stderr } = await cli(["parse", file]);
    expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
    expect(stderr).toContain("Containerfile:2:6: this is not UTF-8");
    writeFileSync(file, "\ufeffFROM a\nRUN é\n");
    expect(await cli(["parse", file])).toMatchObject({ code: 0, stderr: "" });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
