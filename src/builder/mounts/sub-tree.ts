import type { BytePath, FileTree, TreeEntry } from "../../fs/index.js";
import { baseName, joinPath, parentOf, ROOT, walkTree } from "../../fs/index.js";
import type { CopySource } from "../copy/select.js";

/**
 * What lies at and below a path, as a tree of its own, with the owners that a COPY would give. It is read here and now:
 * whoever asks later sees the same files, or an error where one has changed.
 */
export function subTree(source: CopySource, base: BytePath): FileTree {
  const live = liveTree(source, base);
  const entries = new Map([...walkTree(live, ROOT)].map((entry) => [entry.path, entry]));
  const names = new Map<BytePath, string[]>();
  for (const path of entries.keys()) {
    if (path === ROOT) continue;
    const parent = names.get(parentOf(path));
    if (parent) parent.push(baseName(path));
    else names.set(parentOf(path), [baseName(path)]);
  }
  return { ...live, lstat: (path) => entries.get(path), list: (path) => names.get(path) ?? [] };
}

function liveTree({ tree, keepOwner }: CopySource, base: BytePath): FileTree {
  const originals = new WeakMap<TreeEntry, TreeEntry>();
  const below = (path: BytePath): BytePath => (path === "" ? base : joinPath(base, path));
  const original = (entry: TreeEntry): TreeEntry => originals.get(entry) ?? entry;
  return {
    lstat: (path) => {
      const found = tree.lstat(below(path));
      if (!found) return undefined;
      // How a checkout's own directory is protected says nothing of the files in it.
      const isContext = !keepOwner && base === ROOT && path === ROOT;
      const entry = {
        ...found,
        path,
        ...(keepOwner ? {} : { uid: 0, gid: 0 }),
        ...(isContext ? { mode: 0o755 } : {}),
      };
      originals.set(entry, found);
      return entry;
    },
    list: (path) => tree.list(below(path)),
    open: (entry) => tree.open(original(entry)),
    digest: (entry) => tree.digest(original(entry)),
  };
}
