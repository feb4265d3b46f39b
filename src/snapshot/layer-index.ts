import type { CooperError } from "../errors.js";
import { joinPath, ROOT } from "../fs/index.js";
import type { BytePath, LayerFacts } from "../fs/index.js";
import { makeFacts } from "./facts.js";
import { inodeOf } from "./inode.js";
import type { Inode } from "./inode.js";
import { componentsOf, roleOf } from "./layer-names.js";
import type { TarMember } from "./tar-header.js";
import { quoted, tarError } from "./tar-header.js";

/** One file of a layer; a hard link is the same node under a second name. */
export interface LayerNode {
  /** Undefined for a directory that the tar uses without an entry of its own. */
  inode: Inode | undefined;
  /** Only directories have it. */
  readonly children: Map<string, LayerNode> | undefined;
  /** Names that this directory hides in lower layers; those with a node here too make that node opaque. */
  whiteouts: Set<string> | undefined;
  opaque: boolean;
  /** Where the content of a regular file begins in the tar. */
  readonly offset: number;
  links: number;
}

/** What a member does to the tree made so far. Paths have no link among their parents. */
export type Effect =
  | { readonly kind: "none" }
  | {
      readonly kind: "node";
      readonly dir: BytePath;
      readonly name: string;
      readonly node: LayerNode;
      readonly replaces: "nothing" | "file" | "dir";
    }
  | {
      readonly kind: "link";
      readonly dir: BytePath;
      readonly name: string;
      readonly to: BytePath;
      readonly replaces: "nothing" | "file" | "dir";
    };

/** The tree that a tar's members make, in memory: the one place that decides what an archive means. */
export interface LayerIndex {
  readonly root: LayerNode;
  /** Takes the next member. Throws `corrupt`/`unsupported`, naming the entry. */
  add(member: TarMember): Effect;
  /** After the last member: whiteouts and opaque directories settle, whatever their order was. */
  facts(size: number): LayerFacts;
}

const MAX_LINKS = 255;
const NONE: Effect = { kind: "none" };

interface Place {
  readonly node: LayerNode;
  readonly path: BytePath;
}

/** An empty index. `what` names the layer in errors. Costs about 300 bytes of memory per member. */
export function createLayerIndex(what: string): LayerIndex {
  const root = newNode(undefined, true);
  const state = { root, what, hasEntries: false };
  return {
    root,
    add: (member) => add(state, member),
    facts: (size) => settle(root, size, state.hasEntries),
  };
}

interface State {
  readonly root: LayerNode;
  readonly what: string;
  hasEntries: boolean;
}

function newNode(inode: Inode | undefined, isDir: boolean, offset = 0): LayerNode {
  return {
    inode,
    children: isDir ? new Map() : undefined,
    whiteouts: undefined,
    opaque: false,
    offset,
    links: 1,
  };
}

function add(state: State, member: TarMember): Effect {
  const { what } = state;
  const role = roleOf(member.name, what);
  state.hasEntries = true;
  if (role.kind === "ignored") return NONE;
  if (role.kind === "entry" && role.components.length === 0) return setRoot(state, member);
  if (role.kind === "opaque") {
    descend(state, role.components, member.name).node.opaque = true;
    return NONE;
  }
  if (role.kind === "whiteout" && member.type === "dir")
    throw tarError(what, `entry ${quoted(member.name)} is a whiteout and a directory`);
  const name = role.components.at(-1) ?? "";
  const parent = descend(state, role.components.slice(0, -1), member.name);
  if (role.kind === "whiteout") {
    parent.node.whiteouts ??= new Set();
    parent.node.whiteouts.add(name);
    return NONE;
  }
  return member.type === "link" ? addLink(state, parent, name, member) : addNode(state, parent, name, member);
}

function setRoot(state: State, member: TarMember): Effect {
  if (member.type !== "dir")
    throw tarError(state.what, `entry ${quoted(member.name)} would replace the root by a ${member.type}`);
  state.root.inode = inodeOf(member, state.what);
  return { kind: "node", dir: ROOT, name: "", node: state.root, replaces: "nothing" };
}

function addNode(state: State, parent: Place, name: string, member: TarMember): Effect {
  const inode = inodeOf(member, state.what);
  const existing = parent.node.children?.get(name);
  if (existing?.children && inode.type === "dir") {
    existing.inode = inode;
    return { kind: "node", dir: parent.path, name, node: existing, replaces: "nothing" };
  }
  const node = newNode(inode, inode.type === "dir", member.offset);
  const replaces = replace(parent, name, node);
  return { kind: "node", dir: parent.path, name, node, replaces };
}

function addLink(state: State, parent: Place, name: string, member: TarMember): Effect {
  const { what } = state;
  const missing = (): CooperError =>
    tarError(
      what,
      `entry ${quoted(member.name)} is a hard link to ${quoted(member.linkName)}, which is no file of this archive`,
    );
  const target = componentsOf(member.linkName, what);
  const targetName = target.at(-1);
  const targetDir =
    targetName === undefined ? undefined : descend(state, target.slice(0, -1), member.linkName, false);
  const node = targetName === undefined ? undefined : targetDir?.node.children?.get(targetName);
  if (targetName === undefined || !targetDir || !node || node.children) throw missing();
  const to = joinPath(targetDir.path, targetName);
  if (to.startsWith(`${joinPath(parent.path, name)}/`)) throw missing();
  if (parent.node.children?.get(name) === node) return NONE;
  const replaces = replace(parent, name, node);
  node.links += 1;
  return { kind: "link", dir: parent.path, name, to, replaces };
}

function replace(parent: Place, name: string, node: LayerNode): "nothing" | "file" | "dir" {
  const existing = parent.node.children?.get(name);
  parent.node.children?.set(name, node);
  if (!existing) return "nothing";
  existing.links -= 1;
  return existing.children ? "dir" : "file";
}

/**
 * The directory that components lead to. Links on the way are followed inside the tree, as containerd does; directories
 * that do not exist are made when `create`, without an entry of their own.
 */
function descend(state: State, components: readonly string[], name: string, create = true): Place {
  const trail: Place[] = [{ node: state.root, path: ROOT }];
  let pending = components;
  let next = 0;
  let links = 0;
  while (next < pending.length) {
    const part = pending[next] ?? "";
    next += 1;
    if (part === "" || part === ".") continue;
    if (part === "..") {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const at = trail.at(-1) as Place;
    const child = childDir(state, at, part, name, create);
    if (child.children) {
      trail.push({ node: child, path: joinPath(at.path, part) });
      continue;
    }
    links += 1;
    const target = child.inode?.target;
    if (target === undefined || links > MAX_LINKS) {
      throw tarError(
        state.what,
        `entry ${quoted(name)} lies in ${quoted(joinPath(at.path, part))}, which is no directory`,
      );
    }
    if (target.startsWith("/")) trail.length = 1;
    pending = [...target.split("/"), ...pending.slice(next)];
    next = 0;
  }
  return trail.at(-1) as Place;
}

function childDir(state: State, at: Place, part: string, name: string, create: boolean): LayerNode {
  const child = at.node.children?.get(part);
  if (child) return child;
  if (!create) throw tarError(state.what, `hard link target ${quoted(name)} is no file of this archive`);
  const made = newNode(undefined, true);
  at.node.children?.set(part, made);
  return made;
}

function settle(root: LayerNode, size: number, hasEntries: boolean): LayerFacts {
  const implicitDirs: BytePath[] = [];
  const opaqueDirs: BytePath[] = [];
  const xattrPaths: BytePath[] = [];
  const stack: Place[] = [{ node: root, path: ROOT }];
  for (let at = stack.pop(); at; at = stack.pop()) {
    const { node, path } = at;
    for (const name of node.whiteouts ?? []) {
      const child = node.children?.get(name);
      if (child) node.whiteouts?.delete(name);
      if (child?.children) child.opaque = true;
    }
    if (!node.inode) implicitDirs.push(path);
    if (node.inode?.xattrs) xattrPaths.push(path);
    if (node.opaque) opaqueDirs.push(path);
    for (const [name, child] of node.children ?? []) {
      if (child.children) stack.push({ node: child, path: joinPath(path, name) });
      else if (child.inode?.xattrs) xattrPaths.push(joinPath(path, name));
    }
  }
  return makeFacts({
    size,
    hasEntries,
    implicitDirs: hasEntries ? implicitDirs : [],
    opaqueDirs,
    xattrPaths,
  });
}
