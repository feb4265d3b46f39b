import { spawn } from "node:child_process";
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { copyChildren } from "../../src/runtime/copy-tree.js";

let dir: string;
let from: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-copy-"));
  from = join(dir, "from");
  mkdirSync(from);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function copied(name = "to"): string {
  const to = join(dir, name);
  mkdirSync(to);
  copyChildren(from, to);
  return to;
}

const inodeOf = (path: string): number => lstatSync(path).ino;

test("names of one file in several directories are names of one file, and of no other", () => {
  for (const name of ["a", "b", "c/deep"]) mkdirSync(join(from, name), { recursive: true });
  writeFileSync(join(from, "a/file"), "one");
  writeFileSync(join(from, "b/file"), "another");
  linkSync(join(from, "a/file"), join(from, "b/same"));
  linkSync(join(from, "a/file"), join(from, "c/deep/file"));
  linkSync(join(from, "b/file"), join(from, "c/file"));
  const to = copied();
  expect(
    ["a/file", "b/file", "b/same", "c/deep/file", "c/file"].map((name) =>
      readFileSync(join(to, name), "utf8"),
    ),
  ).toEqual(["one", "another", "one", "one", "another"]);
  expect(inodeOf(join(to, "b/same"))).toBe(inodeOf(join(to, "a/file")));
  expect(inodeOf(join(to, "c/deep/file"))).toBe(inodeOf(join(to, "a/file")));
  expect(inodeOf(join(to, "c/file"))).toBe(inodeOf(join(to, "b/file")));
  expect(lstatSync(join(to, "a/file")).nlink).toBe(3);
});

test("what comes and goes while it is copied is there or not, and all else is", async () => {
  for (let at = 0; at < 5; at += 1) {
    mkdirSync(join(from, `stays-${at}`));
    writeFileSync(join(from, `stays-${at}/file`), `${at}`);
  }
  const churn = `while :; do for i in 1 2 3 4 5 6 7 8; do mkdir x$i; echo $i > x$i/f; ln x$i/f x$i/g; ln -s f x$i/l; mv x$i y$i; done; rm -rf y*; done`;
  const child = spawn("busybox", ["sh", "-c", churn], { cwd: from, stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    let moving = 0;
    for (let round = 0; round < 200; round += 1) {
      const to = copied();
      const names = readdirSync(to);
      expect(names.filter((name) => name.startsWith("stays-"))).toHaveLength(5);
      if (names.length > 5) moving += 1;
      rmSync(to, { recursive: true });
    }
    expect(moving).toBeGreaterThan(0);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}, 120_000);
