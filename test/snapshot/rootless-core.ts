/** Runs inside a user namespace, as its root; rootless.test.ts bundles it. Prints what it found as one JSON line. */
import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { BytePath } from "../../src/fs/index.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import type { PreparedRootfs } from "../../src/snapshot/index.js";
import { forgeTar } from "../support/tar-forge.js";
import { bytesOfStream, describeTree, dir, file, opaque, openRoom, whiteout } from "./room.js";

const [parent = "", outsider = ""] = process.argv.slice(2);

function inOverlay(rootfs: PreparedRootfs, script: string): string {
  if (rootfs.kind !== "overlay") throw new Error("no overlay to mount");
  const merged = join(rootfs.workDir, "../merged");
  mkdirSync(merged);
  const options = `lowerdir=${rootfs.lowerDirs.join(":")},upperdir=${rootfs.upperDir},workdir=${rootfs.workDir},userxattr,index=off,metacopy=off`;
  const all = `mount -t overlay overlay -o "$1" "$2"; cd "$2"; ${script}`;
  return execFileSync(
    "unshare",
    ["--mount", "--propagation", "private", "sh", "-ec", all, "sh", options, merged],
    {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
}

await using room = openRoom({ userNamespace: true, parent });
const below = await room.snapshots.write([
  dir("d", { uid: 7, gid: 8 }),
  file("d/a", "a"),
  dir("d/sub"),
  file("d/sub/x", "x"),
  file("gone", "g"),
  dir("o"),
  file("o/low", "l"),
]);
const above = await room.snapshots.write([whiteout("gone"), dir("o"), opaque("o"), file("o/new", "n")]);

await using first = await room.overlay([below.diffId, above.diffId]);
const merged = inOverlay(
  first,
  "ls . d o; rm d/a; rm -rf d/sub; mkdir d/sub; echo z > d/sub/z; touch -d @1000000000.000000007 d/sub/z d/sub d .",
);
const made = await room.snapshots.commit(first);
const members = execFileSync("tar", ["-tf", "-"], {
  input: await bytesOfStream(room.snapshots.tar(made.diffId)),
  encoding: "utf8",
});
await using second = await room.overlay([below.diffId, above.diffId, made.diffId]);
const after = inOverlay(second, "ls . d d/sub");

const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
const foreign = await room.pull(
  forgeTar([
    { name: "dev/" },
    { name: "dev/null", type: "3", major: 1, minor: 3, mode: 0o666 },
    { name: "dev/sda", type: "4", major: 8, minor: 0, mode: 0o660, gid: 6 },
    { name: "fifo", type: "6" },
    { name: "ping", content: "p", mode: 0o4755, pax: { "SCHILY.xattr.security.capability": capability } },
    { name: "stranger", content: "s", uid: Number(outsider), gid: Number(outsider) },
    { name: "strange-link", type: "2", linkName: "x", uid: Number(outsider) },
    {
      name: "forged",
      content: "f",
      pax: { "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.x": "y" },
    },
  ]),
);
await using third = await room.overlay([foreign.diffId]);
const tree = third.lowerDirs[0] ?? "";
using view = await room.snapshots.view([foreign.diffId]);
const entryOf = (path: string): object => {
  const entry = view.lstat(path as BytePath);
  return { type: entry?.type, uid: entry?.uid, gid: entry?.gid, mode: entry?.mode, device: entry?.device };
};
// A RUN that touches a stand-in copies it up; it must come out of the commit as what it stands for.
inOverlay(third, "chmod 640 dev/null stranger; touch -d @1000000000 dev/null stranger dev .");
const touched = await room.snapshots.commit(third);
const listed = execFileSync("tar", ["-tvf", "-", "--numeric-owner"], {
  input: await bytesOfStream(room.snapshots.tar(touched.diffId)),
  encoding: "utf8",
  env: { TZ: "UTC", PATH: process.env["PATH"] },
});

process.stdout.write(
  JSON.stringify({
    uid: process.geteuid?.(),
    map: readFileSync("/proc/self/uid_map", "utf8").trim().split(/\s+/),
    merged,
    members,
    after,
    made: made.diffId,
    whiteoutIsDevice: lstatSync(join(room.home.dir(made.diffId) ?? "", "tree/d/a")).isCharacterDevice(),
    forged: [...treeSyscalls().xattrs(join(tree, "forged")).keys()],
    capability: treeSyscalls().xattrs(join(tree, "ping")).has("security.capability"),
    entries: Object.fromEntries(
      ["dev/null", "dev/sda", "fifo", "ping", "stranger"].map((path) => [path, entryOf(path)]),
    ),
    standIn: lstatSync(join(tree, "dev/null")).isFile(),
    listed,
    all: describeTree(view).length,
  }),
);
