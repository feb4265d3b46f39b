import { closeSync, fstatSync, lstatSync, mkdtempSync, openSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { removeTree } from "../../src/fs/index.js";
import type { BytePath, FileTree, LayerHome, OpenFile, TreeEntry } from "../../src/fs/index.js";
import { digestOf, mediaTypes } from "../../src/image/index.js";
import type { DiffId } from "../../src/image/index.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import { openSnapshotter } from "../../src/snapshot/index.js";
import type { Change, LayerInfo, OverlayRootfs, Snapshotter } from "../../src/snapshot/index.js";
import { openStore } from "../../src/store/index.js";

/** A store of its own with a snapshotter over it, and a directory for the test's files. */
export interface Room extends AsyncDisposable {
  readonly dir: string;
  readonly home: LayerHome;
  readonly snapshots: Snapshotter;
  /** Names of what the store's temporary directory holds now. */
  staged(): readonly string[];
  /** Registers a tar as a pulled layer: a blob with these bytes, the DiffId of the tar. */
  pull(tar: Buffer, blob?: { readonly bytes: Buffer; readonly mediaType: string }): Promise<LayerInfo>;
  /** What `prepare` gives in a room of overlays. */
  overlay(diffIds: readonly DiffId[]): Promise<OverlayRootfs>;
  /** Makes the layer's tree and returns its path. */
  tree(diffId: DiffId): Promise<string>;
}

export function openRoom(
  options: {
    readonly userNamespace?: boolean;
    readonly parent?: string;
    readonly rootfs?: "overlay" | "directory";
  } = {},
): Room {
  const dir = mkdtempSync(join(options.parent ?? tmpdir(), "cooper-snapshot-"));
  const userNamespace = options.userNamespace ?? false;
  const store = openStore(join(dir, "store"), { userNamespace });
  const home = store.layers;
  const { rootfs = "overlay" } = options;
  const snapshots = openSnapshotter({ home, syscalls: treeSyscalls, userNamespace, rootfs });
  const overlay = async (diffIds: readonly DiffId[]): Promise<OverlayRootfs> => {
    const made = await snapshots.prepare(diffIds);
    if (made.kind !== "overlay") throw new Error("not a room of overlays");
    return made;
  };
  return {
    dir,
    home,
    snapshots,
    overlay,
    staged: () => readdirSync(join(dir, "store/tmp")),
    async pull(tar, blob = { bytes: tar, mediaType: mediaTypes.ociLayer }) {
      const descriptor = await home.addBlob(blob.mediaType, Readable.from([blob.bytes]));
      return snapshots.register(descriptor, diffIdOf(tar));
    },
    async tree(diffId) {
      await using rootfs = await overlay([diffId]);
      const tree = rootfs.lowerDirs.at(-1);
      if (tree === undefined) throw new Error("a layer without a tree");
      return tree;
    },
    async [Symbol.asyncDispose]() {
      await snapshots[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      // Node's own rm gives up on trees deeper than a path can be long.
      await removeTree(dir);
    },
  };
}

export function diffIdOf(tar: Buffer): DiffId {
  return digestOf(tar) as string as DiffId;
}

export async function bytesOfStream(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

type Attributes = Partial<Omit<TreeEntry, "path" | "type">>;

const TIME = 1_600_000_000_000_000_000n;

/** A change that adds a regular file with this content. */
export function file(path: string, content: string | Buffer = "", attributes: Attributes = {}): Change {
  const bytes = Buffer.from(content as string);
  const entry: TreeEntry = {
    path: path as BytePath,
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: bytes.length,
    mtimeNs: TIME,
    ...attributes,
  };
  return { kind: "add", entry, content: () => bytes };
}

/** A change that adds anything else. */
export function node(
  type: Exclude<TreeEntry["type"], "file">,
  path: string,
  attributes: Attributes = {},
): Change {
  const mode = type === "dir" ? 0o755 : type === "symlink" ? 0o777 : 0o644;
  return {
    kind: "add",
    entry: { path: path as BytePath, type, mode, uid: 0, gid: 0, size: 0, mtimeNs: TIME, ...attributes },
  };
}

export function dir(path: string, attributes: Attributes = {}): Change {
  return node("dir", path, attributes);
}

export function whiteout(path: string): Change {
  return { kind: "whiteout", path: path as BytePath };
}

export function opaque(path: string): Change {
  return { kind: "opaque", path: path as BytePath };
}

/** A file of the disk as an OpenFile. */
export function opened(path: string): OpenFile {
  const fd = openSync(path, "r");
  return { fd, offset: 0, size: fstatSync(fd).size, close: () => closeSync(fd) };
}

/** Paths of a tree on disk with their types, sorted; whiteouts marked. */
export function listTree(root: string, below = ""): readonly string[] {
  return readdirSync(join(root, below), "latin1")
    .toSorted()
    .flatMap((name) => {
      const path = below === "" ? name : `${below}/${name}`;
      const stat = lstatSync(Buffer.from(join(root, path), "latin1"));
      const kind = stat.isDirectory()
        ? "/"
        : stat.isSymbolicLink()
          ? "@"
          : stat.isCharacterDevice() && stat.rdev === 0
            ? "!"
            : "";
      return [`${path}${kind}`, ...(stat.isDirectory() ? listTree(root, path) : [])];
    });
}

/** All entries of a tree as text, for comparing whole trees. */
export function describeTree(tree: FileTree, path = "" as BytePath): readonly string[] {
  const entry = tree.lstat(path);
  if (!entry) return [];
  const { type, mode, uid, gid, mtimeNs, target, device, xattrs } = entry;
  const line = [
    JSON.stringify(path),
    type,
    mode.toString(8),
    `${uid}:${gid}`,
    String(mtimeNs),
    ...(target === undefined ? [] : [`-> ${target}`]),
    ...(device ? [`${device.major}:${device.minor}`] : []),
    ...[...(xattrs ?? [])].map(([name, value]) => `${name}=${value.toString("hex")}`).toSorted(),
    ...(type === "file" ? [tree.digest(entry).slice(7, 23)] : []),
  ].join(" ");
  if (type !== "dir") return [line];
  return [
    line,
    ...tree
      .list(path)
      .flatMap((name) => describeTree(tree, (path === "" ? name : `${path}/${name}`) as BytePath)),
  ];
}

/** The error that a promise fails with. Fails itself when it does not. */
export async function failureOf(promise: Promise<unknown>): Promise<Error & { readonly code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
}
