import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BytePath, TreeEntry } from "../../src/fs/index.js";
import type { Scratch } from "../context/scratch.js";
import { scratch } from "../context/scratch.js";

const CHANGED = expect.objectContaining({
  code: "context",
  message: '"d/a" changed while it was read',
}) as Error;

function listed(its: Scratch): { readonly context: ReturnType<Scratch["open"]>; readonly entry: TreeEntry } {
  its.write("d/a", "content");
  const context = its.open();
  const entry = context.lstat("d/a" as BytePath);
  if (!entry) throw new Error("d/a is there");
  return { context, entry };
}

const changes: readonly [string, (path: string) => void][] = [
  ["shrinks", (path) => truncateSync(path, 1)],
  ["grows", (path) => appendFileSync(path, "more")],
  ["is written anew with the same size", (path) => writeFileSync(path, "CONTENT")],
  [
    "is written anew with the same size and its time set back",
    (path) => (writeFileSync(path, "CONTENT"), utimesSync(path, 1_700_000_000, 1_700_000_000)),
  ],
  ["is replaced", (path) => (writeFileSync(`${path}.new`, "content"), renameSync(`${path}.new`, path))],
  ["is gone", (path) => rmSync(path)],
  [
    "becomes a link to a file like it",
    (path) => (renameSync(path, `${path}.old`), symlinkSync("a.old", path)),
  ],
  ["becomes a FIFO", (path) => (rmSync(path), execFileSync("mkfifo", [path]))],
  ["becomes a directory", (path) => (rmSync(path), mkdirSync(path))],
];

describe("P10: a context that moves is noticed, and never followed or waited for", () => {
  test.each(changes)("between listing and reading a file %s", (_, change) => {
    using its = scratch();
    const { context, entry } = listed(its);
    change(join(its.dir, "d/a"));
    expect(() => context.digest(entry)).toThrow(CHANGED);
    expect(() => context.open(entry)).toThrow(CHANGED);
  });

  test.each(changes.slice(0, 4))("while it is open a file %s", (_, change) => {
    using its = scratch();
    const { context, entry } = listed(its);
    const open = context.open(entry);
    readSync(open.fd, Buffer.alloc(3));
    change(join(its.dir, "d/a"));
    expect(() => open.close()).toThrow(CHANGED);
    expect(() => readSync(open.fd, Buffer.alloc(1))).toThrow(/EBADF/);
  });

  test("a directory above becomes a link to the very same file", () => {
    using its = scratch();
    const { context, entry } = listed(its);
    renameSync(join(its.dir, "d"), join(its.root, "outside"));
    symlinkSync(join(its.root, "outside"), join(its.dir, "d"));
    expect(() => context.open(entry)).toThrow(CHANGED);
    expect(() => context.digest(entry)).toThrow(CHANGED);
  });

  test("a listed FIFO is an entry and cannot be opened", () => {
    using its = scratch();
    execFileSync("mkfifo", [join(its.dir, "pipe")]);
    using context = its.open();
    const entry = context.lstat("pipe" as BytePath);
    expect(entry?.type).toBe("fifo");
    expect(() => entry && context.open(entry)).toThrow("not a regular file");
  });
});
