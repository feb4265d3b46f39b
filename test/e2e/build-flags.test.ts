import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cooper, imageIdOf } from "./command.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-flags-"));
  mkdirSync(join(dir, "context"));
  writeFileSync(join(dir, "context", "file"), "text");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const root = (): string => join(dir, "root");

async function inspected(name: string): Promise<Readonly<Record<string, unknown>>> {
  const { stdout } = await cooper(["inspect", name], { root: root() });
  return (JSON.parse(stdout) as [Readonly<Record<string, unknown>>])[0];
}

test("files, stdin among them, in docker's format, at a time from the environment", async () => {
  const first = join(dir, "first");
  writeFileSync(first, "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV EPOCH=$SOURCE_DATE_EPOCH\n");
  writeFileSync(join(dir, "context", "last"), "COPY file /file\nCMD never\nHEALTHCHECK CMD true\n");
  const args = ["build", "-t", "x", "-f", first, "-f", "-", "-f", "last", join(dir, "context")];
  const options = { root: root(), input: 'LABEL from="stdin"\n' };
  const env = { SOURCE_DATE_EPOCH: "1000000000", BUILDAH_FORMAT: "docker" };
  const id = imageIdOf(await cooper(args, { ...options, env }));
  expect(await inspected("x")).toMatchObject({
    Id: id,
    Created: "2001-09-09T01:46:40Z",
    ManifestType: "application/vnd.docker.distribution.manifest.v2+json",
    Labels: { from: "stdin" },
    Config: {
      Env: expect.arrayContaining(["EPOCH=1000000000"]) as string[],
      Healthcheck: { Test: ["CMD-SHELL", "true"] },
    },
  });
  const again = await cooper([...args, "--source-date-epoch=1000000000", "--format=oci"], options);
  expect(imageIdOf(again)).toBe(id);
  expect(again.stderr).toContain("--> Using cache");
  expect((await inspected("x"))["ManifestType"]).toBe("application/vnd.oci.image.manifest.v1+json");
});

test("an error in one of several files is shown where it is", async () => {
  writeFileSync(join(dir, "a"), "FROM scratch\n");
  writeFileSync(join(dir, "b"), "\nRUNN true\n");
  const { status, stderr } = await cooper(
    ["build", "-f", join(dir, "a"), "-f", join(dir, "b"), join(dir, "context")],
    { root: root(), mayFail: true },
  );
  expect(status).toBe(125);
  expect(stderr).toContain(`${join(dir, "b")}:2:1: `);
  expect(stderr).toContain("2 | RUNN true\n");
});
