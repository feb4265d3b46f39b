import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import type { CooperError } from "../../src/errors.js";
import { describeWith } from "../support/packages.js";
import { forgeTar } from "../support/tar-forge.js";

const FILE = { name: "Containerfile", content: "FROM scratch\nCOPY . /x\n" };

let dir: string;
let victim: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-p02-"));
  victim = join(dir, "victim");
  writeFileSync(victim, "untouched SECRET\n");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Builds with an archive as the context; the image's files, or why it failed. Nothing may be left behind. */
async function built(archive: Buffer): Promise<string | CooperError> {
  const root = join(dir, "root");
  const dest = join(dir, "out");
  await using cooper = await openCooper({ root });
  const outputs = [{ type: "local", dest } as const];
  const result = await cooper.build({ context: Readable.from([archive]), outputs }).then(
    () => dest,
    (error: unknown) => error as CooperError,
  );
  await cooper[Symbol.asyncDispose]();
  expect(readFileSync(victim, "utf8")).toBe("untouched SECRET\n");
  expect(readdirSync(join(root, "tmp"))).toEqual([]);
  return result;
}

describeWith(["root"], "P02: a context archive reaches nothing outside of itself", () => {
  test("a Containerfile that is a link out of the context is not read, nor quoted", async () => {
    const link = { name: "Containerfile", type: "2", linkName: victim };
    const failure = (await built(forgeTar([link, { name: "f", content: "x" }]))) as CooperError;
    expect(failure).toMatchObject({ code: "not-found" });
    expect(JSON.stringify([failure.message, failure.findings])).not.toContain("SECRET");
  });

  test("files below a link are written inside the context", async () => {
    const archive = forgeTar([
      FILE,
      { name: "out", type: "2", linkName: dir },
      { name: "out/victim", content: "overwritten" },
      { name: "self", type: "2", linkName: "/in" },
      { name: "self/file", content: "inside" },
    ]);
    const out = (await built(archive)) as string;
    expect(readFileSync(join(out, "x/in/file"), "utf8")).toBe("inside");
  });

  test("a file that replaces a link to it does not write through the link", async () => {
    const archive = forgeTar([
      FILE,
      { name: "a", type: "2", linkName: victim },
      { name: "a", content: "overwritten" },
      { name: "b", type: "2", linkName: victim },
      { name: "c", type: "1", linkName: "b" },
      { name: "c", content: "overwritten" },
    ]);
    const out = (await built(archive)) as string;
    expect(readFileSync(join(out, "x/a"), "utf8")).toBe("overwritten");
  });

  test.each([
    ["a name that climbs", [{ name: "../victim", content: "overwritten" }]],
    ["a hard link to a file outside", [{ name: "h", type: "1", linkName: "../victim" }]],
    [
      "a file below a file",
      [
        { name: "f", content: "x" },
        { name: "f/g", content: "y" },
      ],
    ],
  ])("%s is refused", async (_, members) => {
    expect(await built(forgeTar([FILE, ...members]))).toMatchObject({ code: "corrupt" });
  });

  test("an archive that breaks off leaves nothing", async () => {
    const whole = forgeTar([FILE, { name: "big", content: "x".repeat(100_000) }]);
    expect(await built(whole.subarray(0, 50_000))).toMatchObject({ code: "corrupt" });
    expect(existsSync(join(dir, "out"))).toBe(false);
  });

  test.each([["gzip"], ["bzip2"], ["xz"], ["zstd"]])("%s is unpacked", async (program) => {
    const archive = execFileSync(program, ["-c"], { input: forgeTar([FILE, { name: "f", content: "x" }]) });
    expect(readFileSync(join((await built(archive)) as string, "x/f"), "utf8")).toBe("x");
  });
});
