import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { walkTree, ROOT } from "../../src/fs/index.js";
import type { BytePath, FileTree } from "../../src/fs/index.js";
import type { DiffId } from "../../src/image/index.js";
import type { Change } from "../../src/snapshot/index.js";
import { describeWith } from "../support/packages.js";
import { FIND, inOverlay } from "./overlay.js";
import {
  bytesOfStream,
  describeTree,
  dir,
  failureOf,
  file,
  node,
  opaque,
  openRoom,
  whiteout,
} from "./room.js";
import type { Room } from "./room.js";

/** A view's entries in the words of FIND. */
function found(view: FileTree): readonly string[] {
  const kinds = { dir: "d", file: "f", symlink: "l", char: "c", block: "b", fifo: "p", socket: "s" } as const;
  const lines: string[] = [];
  for (const { path, type, mode, uid, gid, mtimeNs, size, target = "" } of walkTree(view, ROOT)) {
    if (path === "") continue;
    const time = `${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, "0")}0`;
    lines.push(
      `${path} ${kinds[type]} ${mode.toString(8)} ${uid}:${gid} ${time} ${type === "symlink" ? target.length : size} ${target}`,
    );
  }
  return lines.toSorted();
}

async function mounted(room: Room, stack: readonly DiffId[]): Promise<readonly string[]> {
  await using rootfs = await room.overlay(stack);
  return inOverlay(rootfs, FIND).split("\n").filter(Boolean);
}

async function layer(room: Room, changes: readonly Change[]): Promise<DiffId> {
  return (await room.snapshots.write(changes)).diffId;
}

/** Runs a script on top of a stack and commits what it changed. */
async function run(room: Room, stack: readonly DiffId[], script: string): Promise<DiffId> {
  await using rootfs = await room.overlay(stack);
  inOverlay(rootfs, script);
  return (await room.snapshots.commit(rootfs)).diffId;
}

async function members(room: Room, diffId: DiffId): Promise<readonly string[]> {
  const tar = await bytesOfStream(room.snapshots.tar(diffId));
  return execFileSync("tar", ["-tf", "-"], { input: tar, encoding: "utf8" }).split("\n").filter(Boolean);
}

describeWith(["root", "mounts"], "layers under a real overlay mount", () => {
  const base = [
    dir("d"),
    file("d/a", "a"),
    file("d/b", "b"),
    dir("d/sub"),
    file("d/sub/x", "x"),
    file("f", "f"),
    node("symlink", "l", { target: "d" }),
  ];

  test("whiteouts and opaque directories of a tar hide, by mount and by view", async () => {
    await using room = openRoom();
    const stack = [
      await layer(room, base),
      await layer(room, [
        dir("d"),
        whiteout("d/a"),
        dir("d/sub"),
        opaque("d/sub"),
        file("d/sub/y", "y"),
        whiteout("f"),
      ]),
    ];
    const shown = await mounted(room, stack);
    expect(shown.map((line) => line.split(" ")[0])).toEqual(["d", "d/b", "d/sub", "d/sub/y", "l"]);
    using view = await room.snapshots.view(stack);
    expect(found(view)).toEqual(shown);
  });

  test("a RUN's deletions, replacements and renames become whiteouts and opaque markers", async () => {
    await using room = openRoom();
    const below = await layer(room, base);
    const made = await run(
      room,
      [below],
      "rm d/a; rm -rf d/sub; mkdir d/sub; echo z > d/sub/z; rm f; mkdir f; rm l; ln -s new l; mv d/b d/c; mkdir new",
    );
    expect(await members(room, made)).toEqual([
      "d/",
      "d/.wh.a",
      "d/.wh.b",
      "d/c",
      "d/sub/",
      "d/sub/.wh..wh..opq",
      "d/sub/z",
      "f/",
      "f/.wh..wh..opq",
      "l",
      "new/",
    ]);
    const shown = await mounted(room, [below, made]);
    expect(shown.map((line) => line.split(" ")[0])).toEqual([
      "d",
      "d/c",
      "d/sub",
      "d/sub/z",
      "f",
      "l",
      "new",
    ]);
    using view = await room.snapshots.view([below, made]);
    expect(found(view)).toEqual(shown);
  });

  test("what a RUN makes is kept: owners, modes, times, links, attributes, nodes; sockets are not", async () => {
    await using room = openRoom();
    const script = `echo x > a; chown 12:34 a; chmod 6755 a; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 a
      ln a b; touch -d @1234567890.123456789 a; mknod null c 1 3; mkfifo p; mkdir -m 1777 t; setfattr -n user.k -v v t; ln -s a s; touch -h -d @1000000000.000000001 s
      python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")' 2>/dev/null || perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "sock", Listen => 1)'; test -S sock`;
    const made = await run(room, [], script);
    await using other = openRoom();
    const copy = await other.pull(await bytesOfStream(room.snapshots.tar(made)));
    expect(copy.diffId).toBe(made);
    using view = await room.snapshots.view([made]);
    using again = await other.snapshots.view([made]);
    expect(describeTree(again)).toEqual(describeTree(view));
    const a = again.lstat("a" as BytePath);
    expect(a).toMatchObject({ mode: 0o6755, uid: 12, gid: 34, mtimeNs: 1_234_567_890_123_456_789n });
    expect([...(a?.xattrs?.keys() ?? [])]).toEqual(["security.capability"]);
    expect(again.lstat("b" as BytePath)?.linkId).toBe(a?.linkId);
    expect(a?.linkId).toBeDefined();
    expect(again.lstat("null" as BytePath)).toMatchObject({ type: "char", device: { major: 1, minor: 3 } });
    expect(again.lstat("sock" as BytePath)).toBeUndefined();
    expect(await mounted(other, [made])).toEqual(found(view));
  });

  test("whiteouts are entries of their own though overlayfs makes them hard links", async () => {
    await using room = openRoom();
    const names = Array.from({ length: 20 }, (_, i) => `f${i}`).toSorted();
    const below = await layer(
      room,
      names.map((name) => file(name, name)),
    );
    const made = await run(room, [below], "rm f*");
    expect(await members(room, made)).toEqual(names.map((name) => `.wh.${name}`));
    const tar = await bytesOfStream(room.snapshots.tar(made));
    expect(execFileSync("tar", ["-tvf", "-"], { input: tar, encoding: "utf8" })).not.toContain("link to");
  });

  test("committing copies nothing: the upper directory becomes the tree", async () => {
    await using room = openRoom();
    await using rootfs = await room.overlay([]);
    inOverlay(rootfs, "echo x > file");
    const inode = lstatSync(join(rootfs.upperDir, "file")).ino;
    const { diffId } = await room.snapshots.commit(rootfs);
    expect(lstatSync(join(room.home.dir(diffId) ?? "", "tree/file")).ino).toBe(inode);
    expect(readdirSync(room.home.dir(diffId) ?? "")).not.toContain("tar");
    await expect(room.snapshots.commit(rootfs)).rejects.toThrow("committed before");
  });

  test("a RUN that changes nothing commits the empty layer, and the root only when it differs", async () => {
    await using room = openRoom();
    const below = await layer(room, [dir("", { mode: 0o750, uid: 3 }), file("a", "x")]);
    const nothing = await run(room, [below], "true");
    expect(nothing).toBe("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    expect(room.snapshots.info(nothing)?.hasEntries).toBe(false);
    expect(await members(room, await run(room, [below, nothing], "touch b"))).toEqual(["b"]);
    const changed = await run(room, [below], "chmod 755 .");
    expect(await members(room, changed)).toEqual(["./"]);
    using view = await room.snapshots.view([below, changed]);
    expect(view.lstat(ROOT)).toMatchObject({ mode: 0o755, uid: 3 });
    await using rootfs = await room.overlay([below, nothing, changed]);
    expect(rootfs.lowerDirs).toHaveLength(2);
    expect(lstatSync(rootfs.upperDir)).toMatchObject({ uid: 3, mode: 0o40755 });
  });

  test("a directory that a layer uses without an entry looks as it does below, so /tmp stays sticky", async () => {
    await using room = openRoom();
    const below = await layer(room, [
      dir("tmp", { mode: 0o1777, mtimeNs: 1_500_000_000_000_000_001n }),
      dir("a", { uid: 7 }),
      dir("a/b", { mode: 0o700, gid: 8 }),
      file("a/b/c", "x"),
    ]);
    const above = await layer(room, [file("a/b/d", "y"), file("new/e", "z"), file("tmp/f", "t")]);
    const stack = [below, above];
    const shown = await mounted(room, stack);
    expect(shown).toContain("tmp d 1777 0:0 1500000000.0000000010 0 ");
    expect(shown.find((line) => line.startsWith("a/b d"))).toContain("700 0:8");
    expect(shown.find((line) => line.startsWith("a d"))).toContain("755 7:0");
    using view = await room.snapshots.view(stack);
    expect(found(view)).toEqual(shown);
    expect(await members(room, await run(room, stack, "echo 1 > a/b/d"))).toEqual(["a/", "a/b/", "a/b/d"]);
  });

  test("a layer that comes twice in a stack counts once, at its topmost place", async () => {
    await using room = openRoom();
    const one = await layer(room, [dir("d"), file("d/a", "1"), file("b", "1")]);
    const two = await layer(room, [dir("d"), whiteout("d/a"), file("b", "2")]);
    const shown = await mounted(room, [one, two, one]);
    expect(shown.map((line) => line.split(" ")[0])).toEqual(["b", "d", "d/a"]);
    using view = await room.snapshots.view([one, two, one]);
    expect(found(view)).toEqual(shown);
    await using rootfs = await room.overlay([one, two, one]);
    expect(new Set(rootfs.lowerDirs).size).toBe(rootfs.lowerDirs.length);
  });

  test("names that a layer would take for whiteouts are refused at commit", async () => {
    await using room = openRoom();
    await using rootfs = await room.overlay([]);
    inOverlay(rootfs, "mkdir d; touch d/.wh.x");
    const error = await failureOf(room.snapshots.commit(rootfs));
    expect(error).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining('"/d/.wh.x"') as string,
    });
  });

  test("nothing stays behind after dispose", async () => {
    await using room = openRoom();
    const rootfs = await room.overlay([await layer(room, base)]);
    expect(existsSync(rootfs.upperDir)).toBe(true);
    await rootfs[Symbol.asyncDispose]();
    expect(room.staged()).toEqual([]);
  });
});

type Sample = ReadonlyMap<string, string>;

/** Small trees over few names, so that two of them collide: "/" is a directory, "@x" a link, else content. */
const samples: fc.Arbitrary<Sample> = fc
  .array(
    fc.tuple(
      fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }),
      fc.constantFrom("/", "/", "1", "2", "@a", "@b"),
    ),
    { maxLength: 8 },
  )
  .map((items) => {
    const tree = new Map<string, string>();
    for (const [parts, kind] of items) {
      const parents = parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("/"));
      if (parents.some((parent) => (tree.get(parent) ?? "/") !== "/")) continue;
      for (const parent of parents) tree.set(parent, "/");
      if (!tree.has(parts.join("/"))) tree.set(parts.join("/"), kind);
    }
    return new Map([...tree].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });

function changesOf(tree: Sample): readonly Change[] {
  return [...tree].map(([path, kind]) =>
    kind === "/"
      ? dir(path)
      : kind.startsWith("@")
        ? node("symlink", path, { target: kind.slice(1) })
        : file(path, kind),
  );
}

/** Shell commands that turn one tree into another. */
function scriptOf(from: Sample, to: Sample): string {
  const gone = [...from.keys()].filter((path) => to.get(path) !== from.get(path));
  const made = [...to].filter(([path, kind]) => from.get(path) !== kind);
  return [
    ...gone.map((path) => `rm -rf ${path}`),
    ...made.map(([path, kind]) =>
      kind === "/"
        ? `mkdir -p ${path}`
        : kind.startsWith("@")
          ? `ln -sfn ${kind.slice(1)} ${path}`
          : `printf ${kind} > ${path}`,
    ),
    // What was removed with a directory that had to go.
    ...[...to].map(
      ([path, kind]) =>
        `test -e ${path} || test -L ${path} || ${kind === "/" ? `mkdir -p ${path}` : kind.startsWith("@") ? `ln -s ${kind.slice(1)} ${path}` : `printf ${kind} > ${path}`}`,
    ),
    "true",
  ].join("\n");
}

function sampleOf(view: FileTree): Sample {
  const found = new Map<string, string>();
  for (const entry of walkTree(view, ROOT)) {
    if (entry.path === "") continue;
    const { type, target = "" } = entry;
    found.set(entry.path, type === "dir" ? "/" : type === "symlink" ? `@${target}` : view.digest(entry));
  }
  return found;
}

describeWith(["root", "mounts"], "applying the difference of two trees", () => {
  test("gives the second tree, by mount, by view and after a pull", async () => {
    await using room = openRoom();
    await fc.assert(
      fc.asyncProperty(samples, samples, samples, async (a, b, c) => {
        const first = await layer(room, changesOf(a));
        const second = await run(room, [first], scriptOf(a, b));
        const third = await run(room, [first, second], scriptOf(b, c));
        const plain = await layer(room, changesOf(c));
        using wanted = await room.snapshots.view([plain]);
        using view = await room.snapshots.view([first, second, third]);
        expect(sampleOf(view)).toEqual(sampleOf(wanted));
        await using other = openRoom();
        const pulled: DiffId[] = [];
        for (const diffId of [first, second, third])
          pulled.push((await other.pull(await bytesOfStream(room.snapshots.tar(diffId)))).diffId);
        using far = await other.snapshots.view(pulled);
        expect(describeTree(far)).toEqual(describeTree(view));
        expect(await mounted(other, pulled)).toEqual(found(far));
      }),
      { numRuns: 40 },
    );
  });
});
