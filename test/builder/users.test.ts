import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveOwner, resolveUser } from "../../src/builder/users.js";
import type { BytePath, FileTree } from "../../src/fs/index.js";

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-users-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

const PASSWD =
  "root:x:0:0::/root:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh\n1234:x:0:0::/:/bin/sh\nbad:x:-1:5::/:\n";
const GROUP = "root:x:0:\nbob:x:1001:\nwheel:x:10:bob,alice\nweb:x:33:bob\n";

/** A tree that holds the given /etc files and nothing else. */
function treeOf(files: Readonly<Record<string, string>>): FileTree {
  const entry = (path: BytePath) => {
    const text = files[path];
    return text === undefined
      ? undefined
      : {
          path,
          type: "file" as const,
          mode: 0o644,
          uid: 0,
          gid: 0,
          size: Buffer.byteLength(text),
          mtimeNs: 0n,
        };
  };
  return {
    lstat: entry,
    list: () => [],
    digest: () => {
      throw new Error("not asked for");
    },
    open: ({ path }) => {
      const file = join(dir, path.replaceAll("/", "-"));
      writeFileSync(file, files[path] ?? "");
      const fd = openSync(file, "r");
      return { fd, offset: 0, size: Buffer.byteLength(files[path] ?? ""), close: () => closeSync(fd) };
    },
  };
}

const tree = treeOf({ "etc/passwd": PASSWD, "etc/group": GROUP });

describe("USER", () => {
  test.each([
    ["bob", { uid: 1000, gid: 1001, groups: [1001, 10, 33], home: "/home/bob" }],
    ["1000", { uid: 1000, gid: 1001, groups: [1001, 10, 33], home: "/home/bob" }],
    ["bob:wheel", { uid: 1000, gid: 10, groups: [10], home: "/home/bob" }],
    ["1000:1000", { uid: 1000, gid: 1000, groups: [1000], home: "/home/bob" }],
    ["4242", { uid: 4242, gid: 0, groups: [0], home: "/" }],
    ["4294967294:4294967294", { uid: 4294967294, gid: 4294967294, groups: [4294967294], home: "/" }],
    ["root", { uid: 0, gid: 0, groups: [0], home: "/root" }],
  ])("%s", (text, expected) => {
    expect(resolveUser(tree, text)).toEqual(expected);
  });

  test("C15: a name of digits is never looked up as a name, and ids out of range are refused", () => {
    expect(resolveUser(tree, "1234").uid).toBe(1234);
    for (const text of ["4294967295", "4294967296", "-1", "+1", "0:4294967296"]) {
      expect(() => resolveUser(tree, text)).toThrow(/invalid user or group id/);
    }
    for (const text of ["0x0", "1e3", "nobody", "bad"])
      expect(() => resolveUser(tree, text)).toThrow(/not in the image/);
  });

  test("an image without /etc/passwd knows root and numbers", () => {
    expect(resolveUser(treeOf({}), "root")).toEqual({ uid: 0, gid: 0, groups: [0], home: "/root" });
    expect(resolveUser(treeOf({}), "12:13").gid).toBe(13);
    expect(() => resolveUser(treeOf({}), "bob")).toThrow(/user "bob" is not in the image/);
  });

  test("C16: a passwd file beyond 10 MiB is refused", () => {
    const base = treeOf({ "etc/passwd": PASSWD });
    const huge: FileTree = {
      ...base,
      lstat: (path) => {
        const entry = base.lstat(path);
        return entry && { ...entry, size: 2 ** 30 };
      },
    };
    expect(() => resolveUser(huge, "bob")).toThrow(/larger than 10 MiB/);
  });
});

describe("--chown", () => {
  test.each([
    ["bob", { uid: 1000, gid: 1001 }],
    ["12", { uid: 12, gid: 12 }],
    ["12:web", { uid: 12, gid: 33 }],
    ["bob:34", { uid: 1000, gid: 34 }],
  ])("%s", (text, expected) => {
    expect(resolveOwner(tree, text)).toEqual(expected);
  });
});
