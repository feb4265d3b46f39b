import { hash } from "node:crypto";
import type { TreeEntry } from "../fs/index.js";
import { textOf } from "../fs/index.js";
import type { InputFile } from "./types.js";

/**
 * What a copied file is in the image, as an input of a key. The digest covers type, mode, owner, content, link target,
 * device, attributes and which files are hard links of one another; no mtime, inode or size, so a fresh checkout of the
 * same files gives the same. The owner is the entry's: set it to the one in the image first.
 *
 * `path`: where the file stands, byte for byte. `content`: digest of a regular file's bytes. `linkedTo`: for the second
 * and later of several hard links, the path of the first.
 */
export function inputFile(path: string, entry: TreeEntry, content?: string, linkedTo?: string): InputFile {
  const { type, mode, uid, gid, target, device, xattrs } = entry;
  if (type === "file" && content === undefined) throw new Error(`no content digest for ${textOf(path)}`);
  const attributes = [...(xattrs ?? [])]
    .map(([name, value]) => [name, value.toString("hex")])
    .toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
  // A link's own mode means nothing on Linux, and differs among file systems.
  const shownMode = type === "symlink" ? 0 : mode;
  const own = [
    path,
    type,
    shownMode,
    uid,
    gid,
    target ?? "",
    device?.major ?? 0,
    device?.minor ?? 0,
    linkedTo ?? "",
  ];
  const digest = hash("sha256", JSON.stringify([...own, content ?? "", attributes]), "hex");
  return { path: textOf(path), digest, content: content ?? target ?? "", mode: shownMode, uid, gid };
}
