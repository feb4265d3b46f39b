// Puts layers on top of one another, in memory (OCI image-spec, layer.md: changesets and whiteouts).
import type { TarEntry } from "./tar-reader.js";
import type { Attributes } from "./types.js";

/** What lies at a path. Two paths that are hard links of one file hold the same object. */
export interface TreeNode {
  readonly entry: TarEntry;
}

/** By path without slashes at its ends; the root is the empty path. */
export type Tree = Map<string, TreeNode>;

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const DIRECTORY = "5";
const HARD_LINK = "1";

/** Parents that no layer mentions are as every tool makes them. */
const impliedDirectory: TarEntry = {
  name: "",
  type: DIRECTORY,
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  time: 0,
  link: "",
  device: "0:0",
  xattrs: new Map(),
  digest: "",
};

/** Applies one layer. Throws where an entry cannot be placed. */
export function applyLayer(tree: Tree, layer: readonly TarEntry[]): void {
  // A whiteout speaks of the layers below, wherever it stands in its own.
  for (const entry of layer) applyWhiteout(tree, normal(entry.name));
  for (const entry of layer) {
    const path = normal(entry.name);
    if (!baseName(path).startsWith(WHITEOUT)) place(tree, path, entry);
  }
}

function applyWhiteout(tree: Tree, path: string): void {
  const name = baseName(path);
  if (!name.startsWith(WHITEOUT)) return;
  const parent = parentOf(path);
  if (name === OPAQUE) removeBelow(tree, parent);
  else if (!name.startsWith(".wh..wh.")) removeAll(tree, join(parent, name.slice(WHITEOUT.length)));
}

function place(tree: Tree, path: string, entry: TarEntry): void {
  ensureParents(tree, path);
  const node = entry.type === HARD_LINK ? tree.get(normal(entry.link)) : ({ entry } satisfies TreeNode);
  if (node === undefined) throw new Error(`/${path} is a hard link to /${entry.link}, which is not there`);
  if (entry.type !== DIRECTORY && path !== "") removeBelow(tree, path);
  tree.set(path, node);
}

function ensureParents(tree: Tree, path: string): void {
  if (path === "") return;
  const parent = parentOf(path);
  ensureParents(tree, parent);
  const found = tree.get(parent);
  if (found === undefined) tree.set(parent, { entry: impliedDirectory });
  else if (found.entry.type !== DIRECTORY)
    throw new Error(`/${path} lies below /${parent}, which is no directory`);
}

function removeAll(tree: Tree, path: string): void {
  tree.delete(path);
  removeBelow(tree, path);
}

function removeBelow(tree: Tree, path: string): void {
  const prefix = path === "" ? "" : `${path}/`;
  for (const other of tree.keys()) if (other !== "" && other.startsWith(prefix)) tree.delete(other);
}

const normal = (name: string): string =>
  name
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
const join = (parent: string, name: string): string => (parent === "" ? name : `${parent}/${name}`);

const TYPE_NAMES: Readonly<Record<string, string>> = {
  "0": "file",
  "2": "link",
  "3": "char device",
  "4": "block device",
  "5": "directory",
  "6": "fifo",
};

/** The tree as facts, by printable path. `times` adds when things were changed. */
export function treeFacts(tree: Tree, times: boolean): Record<string, Attributes> {
  const groups = new Map<TreeNode, string[]>();
  for (const [path, node] of tree) groups.set(node, [...(groups.get(node) ?? []), printable(`/${path}`)]);
  return Object.fromEntries(
    [...tree].map(([path, node]) => [
      printable(`/${path}`),
      nodeFacts(node.entry, groups.get(node) ?? [], times),
    ]),
  );
}

function nodeFacts(entry: TarEntry, links: readonly string[], times: boolean): Attributes {
  const isLink = entry.type === "2";
  return {
    type: TYPE_NAMES[entry.type] ?? entry.type,
    ...(isLink ? {} : { mode: entry.mode.toString(8).padStart(4, "0") }),
    owner: `${entry.uid}:${entry.gid}`,
    ...(entry.type === "0" ? { content: entry.size === 0 ? "empty" : entry.digest } : {}),
    ...(isLink ? { target: printable(entry.link) } : {}),
    ...("34".includes(entry.type) ? { device: entry.device } : {}),
    ...(links.length > 1 ? { links: links.toSorted().join(" ") } : {}),
    ...Object.fromEntries(
      [...entry.xattrs].map(([name, value]) => [`xattr ${printable(name)}`, value.toString("hex")]),
    ),
    ...(times ? { time: String(entry.time) } : {}),
  };
}

/** Bytes (a latin1 string) as text on one line: UTF-8 where it is that; `\xNN` for control characters, and where it is not. */
function printable(bytes: string): string {
  const decoded = Buffer.from(bytes, "latin1").toString("utf8");
  const isUtf8 = Buffer.from(decoded, "utf8").toString("latin1") === bytes;
  const plain = (code: number): boolean => code >= 0x20 && code !== 0x7f && (isUtf8 || code < 0x80);
  return Array.from(isUtf8 ? decoded : bytes, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return plain(code) && character !== "\\" ? character : `\\x${code.toString(16).padStart(2, "0")}`;
  }).join("");
}
