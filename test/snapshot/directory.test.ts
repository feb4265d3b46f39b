import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import type { DiffId } from "../../src/image/index.js";
import type { Change, DirectoryRootfs } from "../../src/snapshot/index.js";
import { readMetadata } from "../../src/snapshot/metadata.js";
import { describeWith } from "../support/packages.js";
import { forgeTar } from "../support/tar-forge.js";
import { inOverlay } from "./overlay.js";
import { bytesOfStream, describeTree, dir, file, node, opaque, openRoom, whiteout } from "./room.js";
import type { Room } from "./room.js";

const CAPABILITY = Buffer.from("0100000200200000000000000000000000000000", "hex");

async function layer(room: Room, changes: readonly Change[]): Promise<DiffId> {
  return (await room.snapshots.write(changes)).diffId;
}

async function prepared(room: Room, stack: readonly DiffId[]): Promise<DirectoryRootfs> {
  const rootfs = await room.snapshots.prepare(stack);
  if (rootfs.kind !== "directory") throw new Error("not a room of directories");
  return rootfs;
}

function inside(rootfs: DirectoryRootfs, script: string): string {
  return execFileSync("sh", ["-ec", script], { cwd: rootfs.dir, encoding: "utf8" });
}

async function run(room: Room, stack: readonly DiffId[], script: string): Promise<DiffId> {
  await using rootfs = await prepared(room, stack);
  inside(rootfs, script);
  return (await room.snapshots.commit(rootfs)).diffId;
}

async function members(room: Room, diffId: DiffId): Promise<readonly string[]> {
  const tar = await bytesOfStream(room.snapshots.tar(diffId));
  return execFileSync("tar", ["-tf", "-"], { input: tar, encoding: "utf8" }).split("\n").filter(Boolean);
}

/** What the directory of a stack holds, by the eyes of a snapshotter that reads it as one layer. */
async function shownBy(room: Room, stack: readonly DiffId[]): Promise<readonly string[]> {
  await using other = openRoom();
  await using rootfs = await prepared(room, stack);
  const tar = execFileSync(
    "tar",
    ["--xattrs", "--xattrs-include=*", "--format=pax", "--numeric-owner", "-cf", "-", "."],
    { cwd: rootfs.dir, maxBuffer: 1 << 26 },
  );
  const { diffId } = await other.pull(tar);
  using view = await other.snapshots.view([diffId]);
  return describeTree(view);
}

async function viewed(room: Room, stack: readonly DiffId[]): Promise<readonly string[]> {
  using view = await room.snapshots.view(stack);
  return describeTree(view);
}

describeWith(["root", "setfattr"], "root file systems as directories", () => {
  const base: readonly Change[] = [
    dir("", { mode: 0o755 }),
    dir("d", { uid: 3, gid: 4, mode: 0o2755, mtimeNs: 1_500_000_000_123_456_789n }),
    file("d/a", "a", { mode: 0o4755, uid: 5, xattrs: new Map([["security.capability", CAPABILITY]]) }),
    file("d/b", "b", { mtimeNs: 1_234_567_890_987_654_321n }),
    dir("d/sub"),
    file("d/sub/x", "x", { linkId: "1" }),
    file("d/sub/y", "x", { linkId: "1" }),
    file("f", "f"),
    node("symlink", "l", { target: "d", mtimeNs: 1_000_000_000_000_000_007n }),
    node("char", "null", { device: { major: 1, minor: 3 } }),
    node("fifo", "p"),
    file("\u00e4\u00ff", "bytes that are not UTF-8"),
  ];

  test("hold the stack: owners, modes, times, attributes, links, devices, odd names", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const stack = [await layer(room, base)];
    expect(await shownBy(room, stack)).toEqual(await viewed(room, stack));
    expect(readdirSync(room.home.dir(stack[0] as DiffId) ?? "")).not.toContain("tree");
  });

  test("are changed in place by further layers: whiteouts, opaque directories, replacements", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const stack = [await layer(room, base)];
    const first = await prepared(room, stack);
    const inode = lstatSync(join(first.dir, "f")).ino;
    stack.push((await room.snapshots.commit(first)).diffId);
    stack.push(
      await layer(room, [
        dir("d", { mode: 0o700 }),
        whiteout("d/a"),
        file("d/b", "new"),
        dir("d/sub"),
        opaque("d/sub"),
        file("d/sub/z", "z"),
        dir("l"),
        file("l/in", "in"),
        whiteout("p"),
      ]),
      await layer(room, [
        file("l", "a file again"),
        dir("d"),
        dir("d/a"),
        file("d/a/deep", "1"),
        whiteout("\u00e4\u00ff"),
      ]),
    );
    const second = await prepared(room, stack);
    expect(second.dir).toBe(first.dir);
    expect(lstatSync(join(second.dir, "f")).ino).toBe(inode);
    const { diffId: nothing } = await room.snapshots.commit(second);
    expect(await shownBy(room, [...stack, nothing])).toEqual(await viewed(room, stack));
  });

  test("what a step changed becomes its layer, with the directories above it", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const below = await layer(room, base);
    const made = await run(
      room,
      [below],
      `rm d/a; rm -rf d/sub; mkdir d/sub; echo z > d/sub/z; rm f; mkdir f; rm l; ln -s new l; mv d/b d/c; mkdir -p new/deep
      ${process.execPath} -e 'require("net").createServer().listen("new/sock", () => process.kill(process.pid, 9))' || test -S new/sock`,
    );
    expect(await members(room, made)).toEqual([
      "d/",
      "d/.wh.a",
      "d/.wh.b",
      "d/c",
      "d/sub/",
      "d/sub/.wh.x",
      "d/sub/.wh.y",
      "d/sub/z",
      "f/",
      "l",
      "new/",
      "new/deep/",
    ]);
    expect(await shownBy(room, [below, made])).toEqual(await viewed(room, [below, made]));
  });

  test("attributes, times and links count, even when nothing else moved; reading does not", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const below = await layer(room, base);
    const steps: readonly (readonly [string, readonly string[]])[] = [
      ["cat d/b d/sub/x; ls -R; readlink l", []],
      ["touch -d @1000000000.5 d/b", ["d/", "d/b"]],
      ["setfattr -n user.k -v v d", ["d/"]],
      ["setfattr -x security.capability d/a", ["d/", "d/a"]],
      ["chmod 600 d/sub/x", ["d/", "d/sub/", "d/sub/x", "d/sub/y"]],
      ["ln f d/g", ["d/", "d/g", "f"]],
      ["touch -h -d @3 l", ["l"]],
      ["chown 9 null", ["null"]],
      ["mv d e", ["d", "e"]],
      ["cp -p d/b t; mv t d/b", ["d/", "d/b"]],
      ["chmod 711 .", ["./"]],
    ];
    for (const [script, wanted] of steps) {
      const found = await members(room, await run(room, [below], script));
      if (script === "mv d e") expect(found[0]).toBe(".wh.d");
      else expect([script, ...found]).toEqual([script, ...wanted]);
    }
  });

  test("a change in the very tick of the last look is seen", async () => {
    await using room = openRoom({ rootfs: "directory" });
    let stack: readonly DiffId[] = [await layer(room, base)];
    for (let round = 0; round < 30; round += 1) {
      await using rootfs = await prepared(room, stack);
      // The same size, and a modification time that is put back.
      const path = join(rootfs.dir, "f");
      const { atimeMs, mtimeMs } = lstatSync(path);
      writeFileSync(path, String(round % 10));
      utimesSync(path, atimeMs / 1000, mtimeMs / 1000);
      const made = await room.snapshots.commit(rootfs);
      expect(await members(room, made.diffId)).toContain("f");
      stack = [...stack, made.diffId];
    }
  });

  test("what was put back is unchanged in spite of its change time, and only that", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const below = await layer(room, base);
    await using rootfs = await prepared(room, [below]);
    const aside = join(rootfs.dir, "../aside");
    inside(rootfs, `mv f ${aside}; mv ${aside} f; chmod 644 d/b`);
    const stat = lstatSync(join(rootfs.dir, "f"), { bigint: true });
    rootfs.restored([{ inode: String(stat.ino), changed: String(stat.ctimeNs) }]);
    expect(await members(room, (await room.snapshots.commit(rootfs)).diffId)).toEqual(["d/", "d/b"]);
  });

  test("a failed step's directory is not used again, and nothing is left after dispose", async () => {
    const room = openRoom({ rootfs: "directory" });
    await using _room = room;
    const below = await layer(room, base);
    const failed = await prepared(room, [below]);
    inside(failed, "rm -rf d");
    await failed[Symbol.asyncDispose]();
    expect(existsSync(failed.dir)).toBe(false);
    await using again = await prepared(room, [below]);
    expect(readdirSync(again.dir)).toContain("d");
    await room.snapshots.commit(again);
    expect(room.staged()).toHaveLength(1);
    await room.snapshots[Symbol.asyncDispose]();
    expect(room.staged()).toEqual([]);
  });

  test("stages that go on from one stack at once have directories of their own", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const below = await layer(room, base);
    await using one = await prepared(room, [below]);
    await using two = await prepared(room, [below]);
    inside(one, "echo 1 > f");
    inside(two, "echo 2 > f");
    const made = [await room.snapshots.commit(one), await room.snapshots.commit(two)];
    for (const [at, { diffId }] of made.entries()) {
      await using next = await prepared(room, [below, diffId]);
      expect(inside(next, "cat f")).toBe(`${at + 1}\n`);
    }
  });

  test("a layer that lacks entries for its directories changes none of them", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const below = await layer(room, [dir("tmp", { mode: 0o1777, mtimeNs: 1_500_000_000_000_000_001n })]);
    const started = await prepared(room, [below]);
    const nothing = (await room.snapshots.commit(started)).diffId;
    const above = await room.pull(forgeTar([{ name: "tmp/new", content: "x" }]));
    const stack = [below, nothing, above.diffId];
    await using rootfs = await prepared(room, stack);
    expect(rootfs.dir).toBe(started.dir);
    expect(lstatSync(join(rootfs.dir, "tmp"), { bigint: true })).toMatchObject({
      mode: 0o41777n,
      mtimeNs: 1_500_000_000_000_000_001n,
    });
    using view = await room.snapshots.view(stack);
    expect(view.lstat("tmp" as BytePath)?.mode).toBe(0o1777);
  });

  test("times given for files hold in the layer and in the directory", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const below = await layer(room, base);
    await using rootfs = await prepared(room, [below]);
    inside(rootfs, "echo 1 > d/new");
    const { diffId } = await room.snapshots.commit(rootfs, () => 7_000_000_000n);
    using view = await room.snapshots.view([below, diffId]);
    expect(view.lstat("d/new" as BytePath)?.mtimeNs).toBe(7_000_000_000n);
    await using next = await prepared(room, [below, diffId]);
    expect(next.dir).toBe(rootfs.dir);
    expect(await members(room, (await room.snapshots.commit(next)).diffId)).toEqual([]);
    expect(lstatSync(join(next.dir, "d/new")).mtimeMs).toBe(7000);
  });

  test("metadata of a tree that grew, shrank and turned inside out", async () => {
    await using room = openRoom({ rootfs: "directory" });
    const root = join(room.dir, "tree");
    mkdirSync(join(root, "a/b/c"), { recursive: true });
    writeFileSync(join(root, "a/b/file"), "");
    writeFileSync(join(root, "a.b"), "");
    const before = readMetadata(root).now;
    expect(readMetadata(root, before).differences).toEqual([]);
    rmSync(join(root, "a/b"), { recursive: true });
    writeFileSync(join(root, "a/b"), "");
    mkdirSync(join(root, "a-dir"));
    expect(readMetadata(root, before).differences).toEqual([
      { path: "", kind: "changed" },
      { path: "a", kind: "changed" },
      { path: "a/b", kind: "changed" },
      { path: "a-dir", kind: "new" },
    ]);
    for (let i = 0; i < 3000; i += 1) writeFileSync(join(root, `a-dir/${i}`), "");
    const { now, differences } = readMetadata(root, before);
    expect(differences).toHaveLength(3004);
    expect(now.count).toBe(3005);
  });
});

const places = fc
  .array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/"));

/** Shell commands, each of which may fail. */
const operations = fc.oneof(
  fc.tuple(places, fc.constantFrom("1", "22")).map(([path, text]) => `printf ${text} > ${path}`),
  places.map((path) => `mkdir -p ${path}`),
  places.map((path) => `rm -rf ${path}`),
  fc.tuple(places, places).map(([from, to]) => `mv -T ${from} ${to}`),
  fc.tuple(places, places).map(([from, to]) => `cp -a ${from} ${to}`),
  fc.tuple(places, fc.constantFrom("700", "755", "1777")).map(([path, mode]) => `chmod ${mode} ${path}`),
  places.map((path) => `ln -sfn a ${path}`),
  fc.tuple(places, places).map(([from, to]) => `rm -rf ${to}; mkdir ${to}; cp -a ${from} ${to}`),
  places.map((path) => `setfattr -h -n user.k -v 1 ${path}`),
);

describeWith(["root", "mounts", "setfattr"], "a step in a directory", () => {
  test("changes a root file system as one in an overlay does, whatever it does", async () => {
    await using overlays = openRoom();
    await using directories = openRoom({ rootfs: "directory" });
    const steps = fc.array(fc.array(operations, { minLength: 1, maxLength: 8 }), {
      minLength: 2,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(steps, async (scripts) => {
        const [one, other]: [DiffId[], DiffId[]] = [[], []];
        for (const lines of scripts) {
          const script = lines.map((line) => `{ ${line}; } 2> /dev/null || true`).join("\n");
          await using overlay = await overlays.overlay(one);
          inOverlay(overlay, script);
          one.push((await overlays.snapshots.commit(overlay)).diffId);
          other.push(await run(directories, other, script));
        }
        expect((await viewed(directories, other)).map(withoutTime)).toEqual(
          (await viewed(overlays, one)).map(withoutTime),
        );
      }),
      { numRuns: 40 },
    );
  });
});

/** The two rooms do the same at different times. */
function withoutTime(line: string): string {
  return line.replace(/ \d{18,}/, "");
}
