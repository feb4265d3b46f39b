import { execFileSync, spawn } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ATOMIC_TEMP_PREFIX, atomicWrite, temporaryName } from "../../src/fs/index.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-atomic-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test("writes text and bytes, and replaces what was there", () => {
  const path = join(dir, "file");
  atomicWrite(path, "täxt");
  expect(readFileSync(path, "utf8")).toBe("täxt");
  atomicWrite(path, new Uint8Array([1, 2, 3]), { durable: true });
  expect([...readFileSync(path)]).toEqual([1, 2, 3]);
  expect(readdirSync(dir)).toEqual(["file"]);
});

test("R12: gives the mode that was asked for, whatever the umask", () => {
  const old = process.umask(0o077);
  try {
    atomicWrite(join(dir, "open"), "x", { mode: 0o644 });
    process.umask(0);
    atomicWrite(join(dir, "secret"), "x", { mode: 0o600 });
    expect(statSync(join(dir, "open")).mode & 0o777).toBe(0o644);
    expect(statSync(join(dir, "secret")).mode & 0o777).toBe(0o600);
  } finally {
    process.umask(old);
  }
});

test("X14: replaces a link instead of writing through it", () => {
  writeFileSync(join(dir, "victim"), "victim");
  symlinkSync("victim", join(dir, "file"));
  atomicWrite(join(dir, "file"), "mine");
  expect([readFileSync(join(dir, "victim"), "utf8"), readFileSync(join(dir, "file"), "utf8")]).toEqual([
    "victim",
    "mine",
  ]);
});

test("X14: never takes a name that somebody has made already", () => {
  symlinkSync(join(dir, "victim"), join(dir, "temp"));
  expect(() => atomicWrite(join(dir, "file"), "x", { temp: join(dir, "temp") })).toThrow(
    expect.objectContaining({ code: "io" }),
  );
  expect(readdirSync(dir)).not.toContain("victim");
  expect(temporaryName()).not.toBe(temporaryName());
  expect(temporaryName().startsWith(ATOMIC_TEMP_PREFIX)).toBe(true);
});

test("names the path when it fails, and leaves nothing behind", () => {
  mkdirSync(join(dir, "sub"));
  expect(() => atomicWrite(join(dir, "missing/file"), "x")).toThrow(
    expect.objectContaining({ code: "io", message: expect.stringContaining("missing/file") }),
  );
  expect(() => atomicWrite(join(dir, "sub"), "x")).toThrow(expect.objectContaining({ code: "io" }));
  expect(readdirSync(dir)).toEqual(["sub"]);
});

test("F05: on a full disk says so and keeps the old content", () => {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", dir]);
  try {
    const path = join(dir, "file");
    atomicWrite(path, "old");
    expect(() => atomicWrite(path, Buffer.alloc(128 * 1024))).toThrow(
      expect.objectContaining({ code: "no-space", hint: expect.stringContaining("--root") }),
    );
    expect([readFileSync(path, "utf8"), readdirSync(dir)]).toEqual(["old", ["file"]]);
  } finally {
    execFileSync("umount", [dir]);
  }
});

test("a reader never sees half of it", async () => {
  const path = join(dir, "file");
  atomicWrite(path, "a".repeat(100_000));
  const script = `const fs = require("fs"); for (let i = 0; i < 3000; i++) { const t = fs.readFileSync(process.argv[1], "latin1"); if (!/^(a{100000}|b{100000})$/.test(t)) { console.log(t.length); process.exit(1); } }`;
  const reader = spawn(process.execPath, ["-e", script, path], { stdio: "ignore" });
  let status: number | null | undefined;
  reader.once("exit", (code) => (status = code));
  while (status === undefined) {
    for (const letter of ["b", "a"]) atomicWrite(path, letter.repeat(100_000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(status).toBe(0);
});
