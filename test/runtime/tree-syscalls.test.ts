import { lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readXattrs, treeSyscalls } from "../../src/runtime/index.js";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-tree-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const fresh = (name: string): string => {
  writeFileSync(Buffer.from(join(dir, name), "latin1"), "");
  return join(dir, name);
};

describe("extended attributes", () => {
  test("none, several, empty and binary values", () => {
    const path = fresh("a");
    const calls = treeSyscalls();
    expect(readXattrs(path).size).toBe(0);
    const values = new Map([
      ["user.one", Buffer.from([0, 1, 255])],
      ["user.empty", Buffer.alloc(0)],
      ["trusted.two", Buffer.alloc(1000, 7)],
    ]);
    for (const [name, value] of values) calls.setXattr(path, name, value);
    expect(new Map(calls.xattrs(path))).toEqual(values);
  });

  test("of a link itself, not of what it points to", () => {
    const target = fresh("target");
    const calls = treeSyscalls();
    symlinkSync(target, join(dir, "link"));
    calls.setXattr(target, "trusted.t", Buffer.from("target"));
    calls.setXattr(join(dir, "link"), "trusted.l", Buffer.from("link"));
    expect([...calls.xattrs(join(dir, "link")).keys()]).toEqual(["trusted.l"]);
  });

  test("a file system without any, and errors by name", () => {
    expect(readXattrs("/proc/self/status").size).toBe(0);
    expect(() => readXattrs(join(dir, "missing"))).toThrow(
      expect.objectContaining({ code: "ENOENT", syscall: "llistxattr" }),
    );
    const set = (): void => treeSyscalls().setXattr(fresh("b"), "nonsense", Buffer.from("x"));
    expect(set).toThrow(expect.objectContaining({ code: "EOPNOTSUPP" }));
  });

  test("of names that are not UTF-8", () => {
    const path = fresh("n\xff\xe4");
    treeSyscalls().setXattr(path, "user.x", Buffer.from("y"));
    expect(readXattrs(path).get("user.x")?.toString()).toBe("y");
  });
});

describe("nodes", () => {
  test.each([
    ["char", { major: 0, minor: 0 }, 0o600],
    ["char", { major: 254, minor: 0xfffff }, 0o666],
    ["block", { major: 8, minor: 17 }, 0o660],
    ["fifo", { major: 0, minor: 0 }, 0o7777],
    ["socket", { major: 0, minor: 0 }, 0o755],
  ] as const)("%s %o with mode %i", (type, device, mode) => {
    const path = join(dir, `node-${type}-${device.minor}`);
    treeSyscalls().makeNode(path, type, mode, device);
    const stat = lstatSync(path);
    const kinds = {
      char: stat.isCharacterDevice(),
      block: stat.isBlockDevice(),
      fifo: stat.isFIFO(),
      socket: stat.isSocket(),
    };
    expect([kinds[type], stat.mode & 0o7777]).toEqual([true, mode]);
    const encoded = (device.minor & 0xff) | (device.major << 8) | ((device.minor & ~0xff) << 12);
    if (type === "char" || type === "block") expect(stat.rdev & 0xffffffff).toBe(encoded | 0);
    expect(process.umask()).toBe(0o022);
  });
});

describe("times", () => {
  test.each([0n, 1n, 999_999_999n, 1_700_000_000_123_456_789n, -1n, -1_000_000_000n, -5_500_000_001n])(
    "%s ns, exactly",
    (ns) => {
      const path = fresh(`time${ns}`);
      treeSyscalls().setTime(path, ns);
      expect(lstatSync(path, { bigint: true }).mtimeNs).toBe(ns);
      symlinkSync("nowhere", `${path}-link`);
      treeSyscalls().setTime(`${path}-link`, ns);
      expect(lstatSync(`${path}-link`, { bigint: true }).mtimeNs).toBe(ns);
    },
  );
});
