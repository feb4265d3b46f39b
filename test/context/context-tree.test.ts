import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { patternIndex, openContext } from "../../src/context/index.js";
import type { BytePath, FileTree } from "../../src/fs/index.js";
import { ROOT, walkTree } from "../../src/fs/index.js";
import { digestOf } from "../../src/image/index.js";
import { naiveIgnores } from "./moby.js";
import { scratch } from "./scratch.js";

const at = (path: string): BytePath => path as BytePath;
const walked = (tree: FileTree): readonly string[] =>
  [...walkTree(tree, ROOT)].map((entry) => entry.path).slice(1);

describe("openContext", () => {
  test("gives what is on disk", () => {
    using its = scratch();
    its.write("run.sh", "echo\n");
    chownSync(join(its.dir, "run.sh"), 12, 34);
    chmodSync(join(its.dir, "run.sh"), 0o4755);
    execFileSync("touch", ["-d", "@-5.25", join(its.dir, "run.sh")]);
    symlinkSync("../run.sh", join(its.dir, "link"));
    execFileSync("mkfifo", ["-m", "600", join(its.dir, "pipe")]);
    execFileSync("mknod", ["-m", "600", join(its.dir, "dev"), "c", "300", "70000"]);
    using context = its.open();
    const digest = digestOf("echo\n");
    const file = context.lstat(at("run.sh"));
    expect(file).toMatchObject({
      type: "file",
      mode: 0o4755,
      uid: 12,
      gid: 34,
      size: 5,
      mtimeNs: -5_250_000_000n,
    });
    expect(file).not.toHaveProperty("linkId");
    expect(file).not.toHaveProperty("xattrs");
    expect(file && context.digest(file)).toBe(digest);
    expect(context.lstat(at("link"))).toMatchObject({ type: "symlink", target: "../run.sh", size: 0 });
    expect(context.lstat(at("pipe"))).toMatchObject({ type: "fifo", mode: 0o600 });
    expect(context.lstat(at("dev"))).toMatchObject({ type: "char", device: { major: 300, minor: 70000 } });
    expect(context.lstat(ROOT)).toMatchObject({ type: "dir", path: "" });
    expect(context.list(ROOT)).toEqual(["dev", "link", "pipe", "run.sh"]);
    expect(context.lstat(at("run.sh/x"))).toBeUndefined();
    expect(context.lstat(at("none/x"))).toBeUndefined();
    expect(context.lstat(at(`${"n".repeat(256)}`))).toBeUndefined();
    expect(context.list(at("none"))).toEqual([]);
  });

  test("hard links share an id", () => {
    using its = scratch();
    its.write("a", "x");
    linkSync(join(its.dir, "a"), join(its.dir, "b"));
    its.write("c", "x");
    using context = its.open();
    const [a, b, c] = ["a", "b", "c"].map((name) => context.lstat(at(name))?.linkId);
    expect(a).toMatch(/^\d+:\d+$/);
    expect([b, c]).toEqual([a, undefined]);
  });

  test("G4: names are bytes", () => {
    using its = scratch();
    const names = [
      Buffer.from([0xff, 0xfe]),
      Buffer.from("new\nline"),
      Buffer.from("é"),
      Buffer.from("-x"),
      Buffer.from("__proto__"),
      Buffer.from("\u001b[2J"),
    ];
    for (const name of names) writeFileSync(Buffer.concat([Buffer.from(`${its.dir}/`), name]), name);
    using context = its.open();
    const listed = context.list(ROOT);
    expect(listed).toEqual(names.map((name) => name.toString("latin1")).toSorted());
    for (const name of listed) {
      const entry = context.lstat(at(name));
      expect(entry && context.digest(entry)).toBe(digestOf(Buffer.from(name, "latin1")));
    }
  });

  test("C11: nothing is found through a symbolic link", () => {
    using its = scratch();
    mkdirSync(join(its.root, "outside"));
    writeFileSync(join(its.root, "outside", "secret"), "canary");
    its.write("real/file");
    symlinkSync(join(its.root, "outside"), join(its.dir, "out"));
    symlinkSync("real", join(its.dir, "in"));
    using context = its.open();
    expect(context.lstat(at("out"))?.type).toBe("symlink");
    expect([context.lstat(at("out/secret")), context.lstat(at("in/file"))]).toEqual([undefined, undefined]);
    expect([context.list(at("out")), context.list(at("in"))]).toEqual([[], []]);
    expect(context.isIgnored("out/secret")).toBe(false);
    expect(walked(context)).toEqual(["in", "out", "real", "real/file"]);
  });

  test("the context directory itself may be a link; a file is refused", () => {
    using its = scratch();
    its.write("a", "1");
    symlinkSync(its.dir, join(its.root, "alias"));
    using context = its.open({ dir: join(its.root, "alias") });
    const entry = context.lstat(at("a"));
    expect(entry && context.digest(entry)).toBe(digestOf("1"));
    expect(() => its.open({ dir: join(its.dir, "a") })).toThrow(
      expect.objectContaining({
        code: "context",
        message: `the build context ${its.dir}/a is not a directory`,
      }),
    );
    expect(() => its.open({ dir: join(its.dir, "none") })).toThrow(
      expect.objectContaining({
        code: "context",
        message: `cannot read the build context ${its.dir}/none: no such file or directory`,
      }),
    );
  });

  test("sockets do not exist and are told", async () => {
    using its = scratch();
    its.write("a");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(its.dir, "app.sock"), resolve));
    using context = its.open();
    expect(context.list(ROOT)).toEqual(["a"]);
    expect(context.lstat(at("app.sock"))).toBeUndefined();
    expect(context.isIgnored("app.sock")).toBe(false);
    expect(context.sockets).toEqual(new Set(["app.sock"]));
    await new Promise((resolve) => server.close(resolve));
  });

  test("extended attributes are asked for once", () => {
    using its = scratch();
    its.write("a");
    const asked: string[] = [];
    const xattrs = (path: string): ReadonlyMap<string, Buffer> => {
      asked.push(path);
      return path.endsWith("/a") ? new Map([["user.x", Buffer.from([0, 255])]]) : new Map();
    };
    for (let build = 0; build < 3; build += 1) {
      using context = its.open({ xattrs });
      expect(context.lstat(at("a"))?.xattrs).toEqual(new Map([["user.x", Buffer.from([0, 255])]]));
      expect(context.lstat(ROOT)).not.toHaveProperty("xattrs");
      context.saveStatCache();
    }
    expect(asked).toEqual([`${its.dir}/a`, its.dir]);
  });

  test("an entry with another path or owner is still the file it was", () => {
    using its = scratch();
    its.write("src/a", "content");
    using context = its.open();
    const entry = context.lstat(at("src/a"));
    if (!entry) throw new Error("src/a is there");
    const moved = { ...entry, path: at("app/b"), uid: 0 };
    expect(context.digest(moved)).toBe(digestOf("content"));
    const open = context.open(moved);
    const bytes = Buffer.alloc(16);
    expect(bytes.toString("utf8", 0, readSync(open.fd, bytes))).toBe("content");
    expect(open).toMatchObject({ offset: 0, size: 7 });
    open.close();
    open.close();
  });
});

describe("ignored files", () => {
  const files = [
    "Containerfile",
    "a/b/c",
    "a/b/d",
    "a/e",
    "node_modules/m/index.js",
    "node_modules/m/LICENSE",
    "pkg/node_modules/x",
    "x.log",
  ];

  test.each<[string[], string[]]>([
    [
      ["*.log", "node_modules"],
      ["Containerfile", "a", "a/b", "a/b/c", "a/b/d", "a/e", "pkg", "pkg/node_modules", "pkg/node_modules/x"],
    ],
    [
      ["*", "!a/b/c"],
      ["a", "a/b", "a/b/c"],
    ],
    [
      ["*", "!a/b"],
      ["a", "a/b", "a/b/c", "a/b/d"],
    ],
    [
      ["**", "!**/LICENSE"],
      ["node_modules", "node_modules/m", "node_modules/m/LICENSE"],
    ],
    [["*", "!a/none"], []],
    [["!a/none", "a", "*"], []],
    [
      ["*", "!a/*/**"],
      ["a", "a/b", "a/b/c", "a/b/d"],
    ],
    [
      ["a", "!a/b", "a", "*.*", "node_modules", "pkg"],
      ["Containerfile", "a", "a/b", "a/b/c", "a/b/d"],
    ],
    [
      ["a/*", "!a/b/z", "node_modules", "pkg"],
      ["Containerfile", "a", "x.log"],
    ],
    [
      ["*", "!?"],
      ["a", "a/b", "a/b/c", "a/b/d", "a/e"],
    ],
  ])("%j leaves %j", (ignore, left) => {
    using its = scratch();
    for (const file of files) its.write(file);
    using context = its.open({ ignore });
    expect(walked(context)).toEqual(left);
    for (const file of files) {
      expect(context.lstat(at(file)) !== undefined).toBe(left.includes(file));
      expect(context.isIgnored(file)).toBe(!left.includes(file));
    }
    expect(context.isIgnored("no/such")).toBe(false);
    its.write("é.txt");
    using other = its.open({ ignore: ["*.txt"] });
    expect(other.isIgnored("é.txt")).toBe(true);
  });

  test("G2: a hidden directory is not read", () => {
    using its = scratch();
    its.write("hidden/deep/x");
    its.write("a");
    let asked = "";
    using context = its.open({
      ignore: ["hidden", "!a"],
      xattrs: (path) => ((asked += `${path}\n`), new Map()),
    });
    rmSync(join(its.dir, "hidden/deep"), { recursive: true });
    chmodSync(join(its.dir, "hidden"), 0o000);
    const before = lstatSync(join(its.dir, "hidden")).atimeMs;
    expect(walked(context)).toEqual(["a"]);
    expect(asked).not.toContain("hidden");
    expect(lstatSync(join(its.dir, "hidden")).atimeMs).toBe(before);
  });

  test("a walk shows exactly the paths that a naive moby keeps, and their parents", () => {
    using its = scratch();
    const names = ["a", "b", "c.x"];
    const paths: string[] = [];
    for (const one of names)
      for (const two of names) for (const three of names) paths.push(`${one}.d/${two}.d/${three}`);
    for (const path of paths) its.write(path);
    const part = fc.constantFrom("a.d", "b.d", "c.x.d", "*", "**", "a", "c.x", "*.x", "?.d", "[ab].d");
    const pattern = fc
      .tuple(fc.boolean(), fc.array(part, { minLength: 1, maxLength: 3 }))
      .map(([back, parts]) => `${back ? "!" : ""}${parts.join("/")}`);
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 4 }), (ignore) => {
        const dirs = [
          ...new Set(
            paths.flatMap((path) => [path.split("/")[0] ?? "", path.slice(0, path.lastIndexOf("/"))]),
          ),
        ];
        const kept = [...paths, ...dirs].filter((path) => !naiveIgnores(ignore, path));
        const parents = kept.flatMap((path) => dirs.filter((dir) => path.startsWith(`${dir}/`)));
        using context = its.open({ ignore });
        expect(walked(context).toSorted()).toEqual([...new Set([...kept, ...parents])].toSorted());
        expect(patternIndex(ignore).ignores(at("a.d/b.d/a"))).toBe(naiveIgnores(ignore, "a.d/b.d/a"));
      }),
      { numRuns: 500 },
    );
  });

  test("a malformed pattern stops the build", () => {
    using its = scratch();
    const options = {
      dir: its.dir,
      statCacheDir: its.root,
      xattrs: () => new Map<string, Buffer>(),
      now: Date.now,
    };
    expect(() => openContext({ ...options, ignore: ["[a-"] })).toThrow(
      expect.objectContaining({ code: "context" }),
    );
  });
});
