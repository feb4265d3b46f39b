import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { writeTree } from "../archive/index.js";
import { CooperError, ioError } from "../errors.js";
import type { BytePath, FileTree, OpenFile, TreeEntry } from "../fs/index.js";
import { baseName, joinPath, movesOthers, parentOf, resolvePath, ROOT } from "../fs/index.js";
import { treeSyscalls } from "../runtime/index.js";
import type { Change } from "../snapshot/index.js";
import type { Workshop } from "./workshop.js";

/** Opens a file that may be an archive; the caller closes it. Throws `context`, `io`. */
export function openArchive(path: string): OpenFile {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const status = fstatSync(fd);
    if (status.isFile()) return { fd, offset: 0, size: status.size, close: () => closeSync(fd) };
    closeSync(fd);
  } catch (error) {
    throw ioError("read", path, error);
  }
  throw new CooperError("context", `${path} is no regular file`);
}

/**
 * Writes what an archive holds as a build context into `dest`, which must not exist. Where a name leads is decided in
 * memory: a link in the archive is followed inside it, and nothing is ever written through one. All belongs to root, as in
 * a context from a directory; devices are left out. Throws `corrupt`, `unsupported`, `no-space`, `io`, `aborted`.
 */
export async function unpackContext(
  workshop: Workshop,
  file: OpenFile,
  { name, dest, signal }: { readonly name: string; readonly dest: string; readonly signal?: AbortSignal },
): Promise<void> {
  const snapshotter = await workshop.snapshotter();
  const tree = new ArchiveTree();
  for await (const change of snapshotter.readArchive(file, name, signal)) tree.add(change);
  writeTree(tree, dest, treeSyscalls(), signal);
}

interface ArchiveNode {
  readonly entry: TreeEntry;
  readonly content?: (() => OpenFile | Uint8Array) | undefined;
  readonly children?: Map<string, ArchiveNode> | undefined;
}

interface Directory {
  readonly path: BytePath;
  readonly children: Map<string, ArchiveNode>;
}

const DIRECTORY = { type: "dir", mode: 0o755, uid: 0, gid: 0, size: 0, mtimeNs: 0n } as const;

/**
 * The tree that the members of an archive make, one after the other; later ones replace earlier ones, directories merge. Its
 * root is as new as the newest of them.
 */
class ArchiveTree implements FileTree {
  #root: ArchiveNode = { entry: { path: ROOT, ...DIRECTORY }, children: new Map() };
  /** Where the parents of entries are, by their names in the archive: a deep one is walked to once. */
  readonly #parents = new Map<BytePath, Directory>();
  /** The last path that was looked up and what is in it, if it is a directory: the next one is mostly in it. */
  #last: { readonly path: BytePath; readonly children: ArchiveNode["children"] } | undefined;

  add(change: Change): void {
    if (change.kind !== "add" || change.entry.path === "") return;
    const { entry, content } = change;
    if (entry.mtimeNs > this.#root.entry.mtimeNs)
      this.#root = { ...this.#root, entry: { ...this.#root.entry, mtimeNs: entry.mtimeNs } };
    const parent = this.#parents.get(parentOf(entry.path)) ?? this.#parent(parentOf(entry.path));
    const name = baseName(entry.path);
    const before = parent.children.get(name);
    const children = entry.type === "dir" ? (before?.children ?? new Map<string, ArchiveNode>()) : undefined;
    const path = joinPath(parent.path, name);
    parent.children.set(name, {
      entry: { ...ownAttributes(entry), path, uid: 0, gid: 0 },
      content,
      children,
    });
    if (movesOthers(entry, before?.entry)) this.#parents.clear();
    this.#last = undefined;
  }

  #parent(wanted: BytePath): Directory {
    const path = resolvePath(this, wanted, { followLast: true });
    const found = { path, children: this.#directory(path) };
    this.#parents.set(wanted, found);
    return found;
  }

  lstat(path: BytePath): TreeEntry | undefined {
    return this.#node(path)?.entry;
  }

  list(path: BytePath): readonly string[] {
    const { children } = this.#last?.path === path ? this.#last : (this.#node(path) ?? {});
    return [...(children?.keys() ?? [])].toSorted();
  }

  open(entry: TreeEntry): OpenFile {
    const content = this.#node(entry.path)?.content?.();
    if (!content || content instanceof Uint8Array) throw new Error(`no file content: ${entry.path}`);
    return content;
  }

  digest(): never {
    throw new Error("an archive's tree is written, not hashed");
  }

  #node(path: BytePath): ArchiveNode | undefined {
    let node: ArchiveNode | undefined = this.#root;
    if (path !== ROOT && this.#last?.path === parentOf(path)) {
      node = this.#last.children?.get(baseName(path));
    } else {
      for (const name of path === ROOT ? [] : path.split("/")) node = node?.children?.get(name);
    }
    this.#last = { path, children: node?.children };
    return node;
  }

  /** The children of a directory, which is made with those above it when it is missing. */
  #directory(path: BytePath): Map<string, ArchiveNode> {
    let node = this.#root;
    let at = ROOT;
    for (const name of path === "" ? [] : path.split("/")) {
      at = joinPath(at, name);
      const next: ArchiveNode = node.children?.get(name) ?? {
        entry: { path: at, ...DIRECTORY },
        children: new Map(),
      };
      if (!next.children)
        throw new CooperError("corrupt", `the archive puts files below ${at}, which is no directory in it`);
      node.children?.set(name, next);
      node = next;
    }
    return node.children ?? new Map<string, ArchiveNode>();
  }
}

/** Without attributes that only mean something on the machine that made the archive. */
function ownAttributes({ xattrs, ...entry }: TreeEntry): TreeEntry {
  const kept = [...(xattrs ?? [])].filter(
    ([name]) => name.startsWith("user.") || name === "security.capability",
  );
  return kept.length === 0 ? entry : { ...entry, xattrs: new Map(kept) };
}
