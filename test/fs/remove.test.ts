import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fsPath, removeTree, removeTreeSync } from "../../src/fs/index.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-remove-"));
});
// Not fs.rm: a test that fails may leave the very tree on which that gives up.
afterEach(() => execFileSync("rm", ["-rf", dir]));

/** `depth` directories, one in the other, made without a path that long. */
function makeDeep(root: string, depth: number): void {
  const script = `import os,sys
os.mkdir(sys.argv[1]); os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    open("f","w").close(); os.mkdir("d"); os.chdir("d")`;
  execFileSync("python3", ["-c", script, root, String(depth)]);
}

describe("removeTree", () => {
  test("is content with nothing, a file, and a link to a directory, which it leaves alone", async () => {
    mkdirSync(join(dir, "kept"));
    writeFileSync(join(dir, "kept/file"), "x");
    writeFileSync(join(dir, "file"), "x");
    symlinkSync("kept", join(dir, "link"));
    await removeTree(join(dir, "missing"));
    await removeTree(join(dir, "file"));
    await removeTree(join(dir, "link"));
    expect(existsSync(join(dir, "file"))).toBe(false);
    expect(() => lstatSync(join(dir, "link"))).toThrow("ENOENT");
    expect(readFileSync(join(dir, "kept/file"), "utf8")).toBe("x");
  });

  test("G4: a tree of 4,096 levels, on which fs.rm gives up", async () => {
    const root = join(dir, "deep");
    makeDeep(root, 4096);
    expect(() => rmSync(root, { recursive: true })).toThrow();
    await removeTree(root);
    expect(existsSync(root)).toBe(false);
  });

  test("G4: needs no descriptor per level", () => {
    const root = join(dir, "deep");
    makeDeep(root, 300);
    const script = `import {removeTreeSync} from ${JSON.stringify(join(process.cwd(), "src/fs/remove.ts"))}; removeTreeSync(${JSON.stringify(root)});`;
    const entry = join(dir, "run.mts");
    writeFileSync(entry, script);
    const bundle = join(dir, "run.mjs");
    execFileSync("npx", [
      "esbuild",
      entry,
      "--bundle",
      "--platform=node",
      "--format=esm",
      `--outfile=${bundle}`,
      "--log-level=error",
    ]);
    execFileSync("prlimit", ["--nofile=40:40", process.execPath, bundle]);
    expect(existsSync(root)).toBe(false);
  });

  test("G4: names of any bytes", async () => {
    const root = join(dir, "names");
    mkdirSync(root);
    const names = ["\xff\xfe", "new\nline", "\x1b[2J", "-rf", "__proto__", ".wh.foo", "a".repeat(255)];
    for (const name of names) {
      mkdirSync(fsPath(`${root}/${name}`));
      writeFileSync(fsPath(`${root}/${name}/\xc3\x28`), "");
    }
    await removeTree(root);
    expect(existsSync(root)).toBe(false);
  });

  test("never follows a link out of the tree, at any level", async () => {
    const victim = join(dir, "victim");
    mkdirSync(victim);
    writeFileSync(join(victim, "file"), "x");
    const root = join(dir, "tree");
    mkdirSync(join(root, "a/b"), { recursive: true });
    for (const at of ["l", "a/l", "a/b/l"]) symlinkSync(victim, join(root, at));
    symlinkSync("..", join(root, "a/b/up"));
    await removeTree(root);
    expect(existsSync(root)).toBe(false);
    expect(readFileSync(join(victim, "file"), "utf8")).toBe("x");
  });

  test("modes that forbid everything, for an ordinary user", () => {
    const root = join(dir, "closed");
    mkdirSync(join(root, "a/b/c"), { recursive: true });
    writeFileSync(join(root, "a/b/c/f"), "");
    writeFileSync(join(root, "a/b/f"), "");
    const script = `import {removeTreeSync} from ${JSON.stringify(join(process.cwd(), "src/fs/remove.ts"))}; removeTreeSync(${JSON.stringify(root)});`;
    writeFileSync(join(dir, "run.mts"), script);
    const bundle = join(dir, "run.mjs");
    execFileSync("npx", [
      "esbuild",
      join(dir, "run.mts"),
      "--bundle",
      "--platform=node",
      "--format=esm",
      `--outfile=${bundle}`,
      "--log-level=error",
    ]);
    execFileSync("chown", ["-R", "nobody", root]);
    for (const at of ["a/b/c", "a/b", "a"]) chmodSync(join(root, at), 0o000);
    chmodSync(dir, 0o777);
    execFileSync("setpriv", ["--reuid=65534", "--clear-groups", process.execPath, bundle]);
    expect(existsSync(root)).toBe(false);
  });

  test("refuses a tree with a mount in it, and loses nothing of it", async () => {
    const precious = join(dir, "precious");
    const root = join(dir, "tree");
    mkdirSync(precious);
    mkdirSync(join(root, "a b"), { recursive: true });
    writeFileSync(join(precious, "file"), "x");
    writeFileSync(join(root, "other"), "x");
    execFileSync("mount", ["--bind", precious, join(root, "a b")]);
    try {
      await expect(removeTree(root)).rejects.toMatchObject({
        code: "in-use",
        message: expect.stringContaining("a b"),
      });
      await expect(removeTree(join(root, "a b"))).rejects.toMatchObject({ code: "in-use" });
      expect(readFileSync(join(precious, "file"), "utf8")).toBe("x");
      expect(existsSync(join(root, "other"))).toBe(true);
    } finally {
      execFileSync("umount", [join(root, "a b")]);
    }
    await removeTree(root);
    expect(existsSync(root)).toBe(false);
  });

  test("goes on after what it cannot remove, and names it", async () => {
    const root = join(dir, "tree");
    mkdirSync(join(root, "a"), { recursive: true });
    for (const name of ["a/1", "a/2", "b", "a/stuck"]) writeFileSync(join(root, name), "");
    execFileSync("chattr", ["+i", join(root, "a/stuck")]);
    try {
      await expect(removeTree(root)).rejects.toMatchObject({
        code: "io",
        message: expect.stringContaining("a/stuck"),
      });
      expect(["a/1", "a/2", "b", "a/stuck"].filter((name) => existsSync(join(root, name)))).toEqual([
        "a/stuck",
      ]);
    } finally {
      execFileSync("chattr", ["-i", join(root, "a/stuck")]);
    }
  });

  test("lets timers run while it removes much", async () => {
    const root = join(dir, "much");
    for (let i = 0; i < 40; i += 1) {
      mkdirSync(join(root, String(i)), { recursive: true });
      for (let j = 0; j < 200; j += 1) writeFileSync(join(root, String(i), String(j)), "");
    }
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 1);
    await removeTree(root);
    clearInterval(timer);
    expect(existsSync(root)).toBe(false);
    expect(ticks).toBeGreaterThan(0);
  });

  test("removeTreeSync does the same at one go", () => {
    mkdirSync(join(dir, "t/a/b"), { recursive: true });
    writeFileSync(join(dir, "t/a/f"), "");
    removeTreeSync(join(dir, "t"));
    expect(existsSync(join(dir, "t"))).toBe(false);
  });
});
