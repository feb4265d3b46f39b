import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { errnoOf, ioError } from "../errors.js";
import { fsPath, joinPath, ROOT } from "../fs/index.js";
import type { BytePath, LayerFacts } from "../fs/index.js";
import type { TreeFlavour } from "./attributes.js";
import { applyAttributes, makeNode, opaqueXattr } from "./attributes.js";
import type { DirStack } from "./dir-stack.js";
import { openDirStack } from "./dir-stack.js";
import type { Inode } from "./inode.js";
import type { LayerNode } from "./layer-index.js";
import { createLayerIndex } from "./layer-index.js";
import { shown } from "./layer-names.js";
import type { TarVisitor } from "./tar-parser.js";

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** Runs of zeros of at least this many bytes become holes. */
const HOLE = 4096;
const ZEROS = Buffer.alloc(64 * 1024);

/** Makes a layer's tree out of the members of its tar, as they come. */
export interface Extraction extends Disposable {
  readonly visitor: TarVisitor;
  /** After the last member: attributes of directories, whiteouts. `size`: bytes of the tar. */
  finish(size: number): LayerFacts;
}

/**
 * Extracts into `tree`, an empty directory that nobody else can reach. What the members mean is decided in memory
 * (layer-index.ts), so on disk every parent is a directory that we made, and is walked to by descriptors all the same.
 * `trash`: an existing directory on the same file system for what is replaced. Throws `corrupt`, `unsupported`, `io`, `no-space`.
 */
export function extractInto(tree: string, trash: string, what: string, flavour: TreeFlavour): Extraction {
  const index = createLayerIndex(what);
  const dirs = openDirStack(tree);
  const linkDirs = openDirStack(tree);
  let file: OpenedFile | undefined;
  let trashed = 0;

  function discard(path: string, kind: "nothing" | "file" | "dir"): void {
    if (kind === "file") unlinkSync(fsPath(path));
    if (kind !== "dir") return;
    try {
      renameSync(fsPath(path), `${trash}/${(trashed += 1)}`);
    } catch (error) {
      // A directory without an entry of its own that nothing was put into yet.
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  const visitor: TarVisitor = {
    member(member) {
      const effect = index.add(member);
      if (effect.kind === "none" || (effect.kind === "node" && effect.name === "")) return;
      const path = joinPath(effect.dir, effect.name);
      try {
        const at = dirs.at(effect.dir, effect.name);
        discard(at, effect.replaces);
        if (effect.kind === "link") linkSync(fsPath(linkSource(linkDirs, effect.to)), fsPath(at));
        else file = create(at, path, effect.node);
      } catch (error) {
        throw ioError("extract", `${shown(path)} of ${what}`, error);
      }
    },
    content(piece) {
      if (file) write(file, piece, what);
    },
    memberEnd() {
      if (!file) return;
      const done = file;
      file = undefined;
      finishFile(done, what, flavour);
    },
  };

  function create(at: string, path: BytePath, node: LayerNode): OpenedFile | undefined {
    const { inode } = node;
    if (!inode) throw new Error("an entry without attributes");
    if (inode.type === "dir") {
      makeDir(at);
      return undefined;
    }
    if (inode.type === "file")
      return { fd: openSync(fsPath(at), CREATE, 0o600), at, path, inode, position: 0 };
    if (inode.type === "symlink") {
      symlinkSync(fsPath(inode.target ?? ""), fsPath(at));
      applyAttributes({ path: at }, inode, flavour);
    } else {
      const standsIn = makeNode(at, inode, flavour);
      applyAttributes({ path: at, standsIn }, inode, flavour);
    }
    return undefined;
  }

  return {
    visitor,
    finish(size) {
      const facts = index.facts(size);
      finishDirs(index.root, dirs, `${trash}/whiteout`, what, flavour);
      return facts;
    },
    [Symbol.dispose]() {
      if (file) closeSync(file.fd);
      dirs[Symbol.dispose]();
      linkDirs[Symbol.dispose]();
    },
  };
}

interface OpenedFile {
  readonly fd: number;
  readonly at: string;
  readonly path: BytePath;
  readonly inode: Inode;
  position: number;
}

function makeDir(at: string): void {
  try {
    mkdirSync(fsPath(at), { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}

function linkSource(dirs: DirStack, path: BytePath): string {
  const slash = path.lastIndexOf("/");
  return dirs.at((slash < 0 ? ROOT : path.slice(0, slash)) as BytePath, path.slice(slash + 1));
}

function write(file: OpenedFile, piece: Buffer, what: string): void {
  const isHole =
    piece.length >= HOLE &&
    piece.length <= ZEROS.length &&
    piece[0] === 0 &&
    piece.equals(ZEROS.subarray(0, piece.length));
  try {
    for (let at = 0; at < piece.length && !isHole;) {
      at += writeSync(file.fd, piece, at, piece.length - at, file.position + at);
    }
  } catch (error) {
    throw ioError("extract", `${shown(file.path)} of ${what}`, error);
  }
  file.position += piece.length;
}

function finishFile(file: OpenedFile, what: string, flavour: TreeFlavour): void {
  try {
    if (file.position >= HOLE) ftruncateSync(file.fd, file.position);
    applyAttributes({ path: file.at, fd: file.fd }, file.inode, flavour);
  } catch (error) {
    throw ioError("extract", `${shown(file.path)} of ${what}`, error);
  } finally {
    closeSync(file.fd);
  }
}

/** What a directory without an entry of its own gets; a mount shows the attributes of lower layers instead. */
export const IMPLICIT: Inode = { type: "dir", mode: 0o755, uid: 0, gid: 0, size: 0, mtimeNs: 0n };

/** Children before parents, since making something in a directory changes its time. */
function finishDirs(
  root: LayerNode,
  dirs: DirStack,
  whiteout: string,
  what: string,
  flavour: TreeFlavour,
): void {
  const stack: {
    readonly node: LayerNode;
    readonly path: BytePath;
    readonly rest: Iterator<[string, LayerNode]>;
  }[] = [];
  const push = (node: LayerNode, path: BytePath): void => {
    stack.push({ node, path, rest: (node.children ?? new Map<string, LayerNode>()).entries() });
  };
  push(root, ROOT);
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const next = top.rest.next();
    if (next.done !== true) {
      const [name, child] = next.value;
      if (child.children) push(child, joinPath(top.path, name));
      continue;
    }
    stack.pop();
    try {
      finishDir(top.node, top.path, dirs, whiteout, flavour);
    } catch (error) {
      throw ioError("extract", `${shown(top.path)} of ${what}`, error);
    }
  }
}

function finishDir(
  node: LayerNode,
  path: BytePath,
  dirs: DirStack,
  whiteout: string,
  flavour: TreeFlavour,
): void {
  for (const name of node.whiteouts ?? []) makeWhiteout(dirs.at(path, name), whiteout, flavour);
  const fd = dirs.enter(path);
  const at = `/proc/self/fd/${fd}/.`;
  if (node.opaque) flavour.syscalls().setXattr(at, opaqueXattr(flavour), Buffer.from("y"));
  applyAttributes({ path: at, fd }, node.inode ?? IMPLICIT, flavour);
}

/** A device 0:0 as overlayfs makes them: one inode under many names. Source: overlayfs.rst, "whiteouts and opaque directories". */
function makeWhiteout(at: string, source: string, flavour: TreeFlavour): void {
  try {
    linkSync(source, fsPath(at));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "ENOENT" && errno !== "EMLINK") throw error;
    if (errno === "EMLINK") unlinkSync(source);
    flavour.syscalls().makeNode(source, "char", 0, { major: 0, minor: 0 });
    linkSync(source, fsPath(at));
  }
}
