import { execFileSync } from "node:child_process";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { extract } from "tar-stream";
import { describe, expect, test } from "vitest";
import type { BytePath } from "../../src/fs/index.js";
import { digestOf } from "../../src/image/index.js";
import type { DiffId } from "../../src/image/index.js";
import type { Change } from "../../src/snapshot/index.js";
import { testWith } from "../support/packages.js";
import {
  bytesOfStream,
  describeTree,
  diffIdOf,
  dir,
  file,
  listTree,
  node,
  opaque,
  openRoom,
  whiteout,
} from "./room.js";
import type { Room } from "./room.js";

const CAPABILITY = Buffer.from("0100000200200000000000000000000000000000", "hex");

/** The tar of a layer made again from its tree alone. */
async function regenerated(room: Room, diffId: DiffId): Promise<Buffer> {
  const tree = await room.tree(diffId);
  rmSync(join(tree, "../tar"), { force: true });
  return bytesOfStream(room.snapshots.tar(diffId));
}

async function roundTrip(
  room: Room,
  changes: readonly Change[],
): Promise<{ readonly tar: Buffer; readonly again: Buffer; readonly diffId: DiffId }> {
  const { diffId, size } = await room.snapshots.write(changes);
  const tar = await bytesOfStream(room.snapshots.tar(diffId));
  expect(diffIdOf(tar)).toBe(diffId);
  expect(tar.length).toBe(size);
  return { tar, again: await regenerated(room, diffId), diffId };
}

const name255 = "n".repeat(255);

const cases: Readonly<Record<string, readonly Change[]>> = {
  "nothing at all": [],
  "plain files and directories": [dir("a"), file("a/b", "content"), dir("a/c"), file("z")],
  "a root of its own": [dir("", { mode: 0o1777, uid: 5 }), file("a", "x")],
  "modes with setuid, setgid and sticky": [
    dir("d", { mode: 0o3777 }),
    file("d/suid", "x", { mode: 0o4755, uid: 33, gid: 44 }),
    file("d/unreadable", "x", { mode: 0 }),
    dir("locked", { mode: 0 }),
    file("locked/f", "x"),
  ],
  "owners of every size": [
    file("a", "", { uid: 2_097_151, gid: 2_097_152 }),
    file("b", "", { uid: 65_534, gid: 2 ** 31 }),
    file("c", "", { uid: 2 ** 32 - 2, gid: 2 ** 32 - 2 }),
  ],
  times: [
    file("a", "", { mtimeNs: 0n }),
    file("b", "", { mtimeNs: 1_600_000_000_123_456_789n }),
    file("c", "", { mtimeNs: 1_600_000_000_100_000_000n }),
    file("d", "", { mtimeNs: 1_600_000_000_000_000_001n }),
    dir("e", { mtimeNs: 1_600_000_000_999_999_999n }),
    file("e/f", ""),
    node("symlink", "g", { target: "a", mtimeNs: 1_500_000_000_000_000_007n }),
  ],
  links: [
    file("a", "shared", { linkId: "1" }),
    file("b", "shared", { linkId: "1" }),
    dir("d"),
    file("d/c", "shared", { linkId: "1" }),
    node("symlink", "s", { target: "/absolute/../nowhere" }),
    node("symlink", "t", { target: "u".repeat(200), linkId: "2" }),
    node("symlink", "u", { target: "u".repeat(200), linkId: "2" }),
  ],
  "extended attributes": [
    file("caps", "x", { xattrs: new Map([["security.capability", CAPABILITY]]) }),
    dir("d", {
      xattrs: new Map([
        ["trusted.a", Buffer.from([0, 10, 255])],
        ["trusted.b", Buffer.alloc(0)],
      ]),
    }),
    node("symlink", "s", { target: "x", xattrs: new Map([["trusted.link", Buffer.from("é")]]) }),
  ],
  "fifos and devices": [
    node("block", "block", { device: { major: 7, minor: 300 }, mode: 0o660, gid: 6 }),
    node("char", "char", { device: { major: 1, minor: 3 }, mode: 0o666 }),
    node("fifo", "fifo", { mode: 0o600 }),
    node("char", "large", { device: { major: 4095, minor: 1_048_575 } }),
  ],
  "whiteouts and opaque directories": [
    dir("a"),
    opaque("a"),
    file("a/b", "x"),
    whiteout("a/gone"),
    whiteout("y"),
    whiteout("z"),
  ],
  "an opaque root": [dir(""), opaque(""), file("a", "x")],
  "names of any bytes": [
    file("\n newline", "1"),
    file(" ", "2"),
    file("-rf", "3"),
    file("C:..\\x", "4"),
    file("__proto__", "5"),
    file("a\\b", "6"),
    file(Buffer.from("grün").toString("latin1"), "7"),
    file("\xff\xfe", "8"),
    node("symlink", "\xff\xff", { target: "\xfe" }),
  ],
  "long names": [
    dir("d".repeat(90)),
    file(`${"d".repeat(90)}/${"e".repeat(99)}`, "split"),
    file(`${"d".repeat(90)}/${"e".repeat(100)}`, "split"),
    file(`${"d".repeat(90)}/${"e".repeat(101)}`, "pax"),
    dir("f".repeat(99)),
    dir("g".repeat(100)),
    file(name255, "255"),
  ],
  "content across chunks": [
    file("a", Buffer.alloc(65_024, 1)),
    file("b", Buffer.alloc(65_536, 2)),
    file("c", Buffer.alloc(200_001, 3)),
    file("d", ""),
  ],
  "long runs of zeros": [
    file("a", Buffer.concat([Buffer.alloc(500_000), Buffer.from("end")])),
    file("b", Buffer.alloc(300_000)),
  ],
  "directories without an entry": [file("a/b/c", "x"), dir("d"), file("d/e/f", "y")],
};

describe("tar to tree to tar", () => {
  testWith(["root"], "gives the same bytes for each of our own tars", async () => {
    for (const [name, changes] of Object.entries(cases)) {
      await using room = openRoom();
      if (changes.length === 0) {
        expect((await room.snapshots.write(changes)).hasEntries, name).toBe(false);
        continue;
      }
      const { tar, again } = await roundTrip(room, changes);
      expect(again.equals(tar), name).toBe(true);
    }
  });

  testWith(["root"], "gives the same entries by tree and by tar", async () => {
    for (const [name, changes] of Object.entries(cases)) {
      await using room = openRoom();
      const { diffId } = await room.snapshots.write(changes);
      using byTar = await room.snapshots.view([diffId]);
      const fromTar = describeTree(byTar);
      if (changes.length > 0) await room.tree(diffId);
      using byTree = await room.snapshots.view([diffId]);
      expect(describeTree(byTree), name).toEqual(fromTar);
    }
  });

  testWith(["root"], "keeps nanoseconds before 1970 where the file system can", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write([
      file("a", "", { mtimeNs: -1_500_000_001n }),
      file("b", "", { mtimeNs: -1n }),
    ]);
    const tree = await room.tree(diffId);
    expect(lstatSync(join(tree, "a"), { bigint: true }).mtimeNs).toBe(-1_500_000_001n);
    expect(lstatSync(join(tree, "b"), { bigint: true }).mtimeNs).toBe(-1n);
  });

  testWith(["root"], "keeps trees deeper than a path can be long", async () => {
    await using room = openRoom();
    const changes: Change[] = [];
    let path = "";
    for (let i = 0; i < 4096; i += 1) {
      path = path === "" ? "d" : `${path}/d${i % 10}`;
      changes.push(dir(path));
    }
    changes.push(file(`${path}/leaf`, "deep"));
    const { tar, again, diffId } = await roundTrip(room, changes);
    expect(again.equals(tar)).toBe(true);
    using view = await room.snapshots.view([diffId]);
    const entry = view.lstat(`${path}/leaf` as BytePath);
    expect(entry && view.digest(entry)).toBe(digestOf("deep"));
  });

  test("the digest is that of the golden tar", async () => {
    await using room = openRoom();
    const { diffId } = await room.snapshots.write([
      dir("etc"),
      file("etc/hostname", "box\n", { mtimeNs: 315_532_800_000_000_000n }),
    ]);
    expect(diffId).toBe("sha256:917c83eb61021ab0aabe99cfccb197bd338da1f7fd33a7fcc9def56d94d87c62");
  });
});

describe("holes", () => {
  testWith(["root"], "a file of zeros takes no space, neither in the tar nor in the tree", async () => {
    await using room = openRoom();
    const size = 256 * 1024 * 1024;
    const path = join(room.dir, "zeros");
    execFileSync("truncate", ["-s", String(size), path]);
    const changes = [{ ...file("zeros", "", { size }), content: () => openedFile(path, size) }] as Change[];
    const { diffId } = await room.snapshots.write(changes);
    const tree = await room.tree(diffId);
    expect(statSync(join(tree, "zeros")).size).toBe(size);
    expect(statSync(join(tree, "zeros")).blocks * 512).toBeLessThan(1024 * 1024);
    expect(statSync(join(tree, "../tar")).blocks * 512).toBeLessThan(1024 * 1024);
  });
});

function openedFile(path: string, size: number): { fd: number; offset: number; size: number; close(): void } {
  const fd = openSync(path, "r");
  return { fd, offset: 0, size, close: () => closeSync(fd) };
}

describe("other programs", () => {
  testWith(["root"], "GNU tar lists and extracts what we write, to the same tree", async () => {
    for (const [name, changes] of Object.entries(cases)) {
      if (changes.some((change) => change.kind !== "add") || changes.length === 0) continue;
      await using room = openRoom();
      const { diffId } = await room.snapshots.write(changes);
      const tar = join(room.dir, "layer.tar");
      writeFileSync(tar, await bytesOfStream(room.snapshots.tar(diffId)));
      const out = join(room.dir, "out");
      mkdirSync(out);
      execFileSync("tar", ["--xattrs", "--xattrs-include=*", "-xpf", tar, "-C", out], { stdio: "pipe" });
      expect(listTree(out), name).toEqual(listTree(await room.tree(diffId)));
    }
  });

  test("tar-stream reads the same names, sizes and contents", async () => {
    await using room = openRoom();
    const changes = [
      ...(cases["plain files and directories"] ?? []),
      file(name255, "long"),
      file("zz", Buffer.alloc(100_000, 7)),
    ];
    const { diffId } = await room.snapshots.write(changes);
    const found: string[] = [];
    const reader = extract();
    Readable.from([await bytesOfStream(room.snapshots.tar(diffId))]).pipe(reader);
    for await (const entry of reader) {
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      found.push(`${entry.header.name} ${Buffer.concat(chunks).length}`);
    }
    expect(found).toEqual(["a/ 0", "a/b 7", "a/c/ 0", "z 0", `${name255} 4`, "zz 100000"]);
  });

  testWith(
    ["root"],
    "archives of GNU tar in all its formats become the tree that GNU tar makes",
    async () => {
      await using room = openRoom();
      const source = join(room.dir, "source");
      makeSample(source);
      for (const format of ["gnu", "oldgnu", "pax", "posix", "ustar", "v7"]) {
        const tar = join(room.dir, `${format}.tar`);
        const long = format === "ustar" || format === "v7" ? ["--exclude=long*"] : [];
        if (format === "v7") long.push("--exclude=fifo", "--exclude=null");
        execFileSync(
          "tar",
          [`--format=${format}`, "--numeric-owner", ...long, "-cf", tar, "-C", source, "."],
          { stdio: "pipe" },
        );
        const out = join(room.dir, `out-${format}`);
        mkdirSync(out);
        execFileSync("tar", ["-xpf", tar, "-C", out, "--numeric-owner"]);
        const { diffId } = await room.pull(readFileSync(tar));
        const tree = await room.tree(diffId);
        expect(stats(tree), format).toEqual(stats(out));
      }
    },
  );
});

function makeSample(source: string): void {
  const script = `mkdir -p ${source}/d/e; cd ${source}
    echo hello > f; ln f hard; ln -s f soft; ln d/../f d/hard2; mkfifo fifo; mknod null c 1 3; chmod 4755 f
    chown 1234:5678 d; touch -d @1500000000.123456789 d/e; mkdir -m 1777 tmp; printf x > "$(printf 'b\\303\\244r')"
    mkdir long; echo y > long/$(printf 'l%.0s' $(seq 1 200)); ln -s $(printf 'm%.0s' $(seq 1 150)) longlink; head -c 100000 /dev/urandom > big`;
  execFileSync("sh", ["-ec", script]);
}

/** All that lstat tells of a tree and that must agree. */
function stats(root: string): readonly string[] {
  return listTree(root).map((shown) => {
    const path = shown.replace(/[/@!]$/, "");
    const s = lstatSync(Buffer.from(join(root, path), "latin1"), { bigint: true });
    const content = s.isFile() ? digestOf(readFileSync(Buffer.from(join(root, path), "latin1"))) : "";
    return [
      path,
      s.mode.toString(8),
      s.uid,
      s.gid,
      s.isDirectory() ? "" : s.size,
      s.mtimeNs,
      s.rdev,
      s.isDirectory() ? "" : s.nlink,
      content,
    ].join(" ");
  });
}
