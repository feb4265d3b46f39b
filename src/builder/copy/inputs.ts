import type { InputFile } from "../../cache/index.js";
import { inputFile } from "../../cache/index.js";
import type { TreeEntry } from "../../fs/index.js";
import { textOf } from "../../fs/index.js";
import type { CopySource, Selected } from "./select.js";

/** What the sources of an instruction hold, for its cache key. */
export interface CopyInputs {
  /** Which source became which name: the same files under other names are another layer. */
  readonly selection: string;
  readonly files: readonly InputFile[];
}

/**
 * Describes selected sources by the paths that users know. The owner of a checkout is nobody's intention, so it counts
 * only where it is kept; neither time nor inode counts at all. Of a
 * directory that is named itself only the contents count, since only they are copied.
 */
export function copyInputs(source: CopySource, selected: readonly Selected[]): CopyInputs {
  const files = new Map<string, InputFile>();
  const firstOfLink = new Map<string, string>();
  for (const one of selected) {
    for (const { entry, relative } of one.entries()) {
      const path = shownPath(entry);
      if (files.has(path) || (entry.type === "dir" && relative === "")) continue;
      const linkedTo = entry.linkId === undefined ? undefined : firstOfLink.get(entry.linkId);
      if (entry.linkId !== undefined && linkedTo === undefined) firstOfLink.set(entry.linkId, path);
      const owned = source.keepOwner ? entry : { ...entry, uid: 0, gid: 0 };
      const content = entry.type === "file" ? source.tree.digest(entry) : undefined;
      files.set(path, { ...inputFile(entry.path, owned, content, linkedTo), path });
    }
  }
  return {
    selection: JSON.stringify(
      selected.map((one) => [one.word, one.name, one.entry.path, one.entry.type === "dir"]),
    ),
    files: [...files.values()],
  };
}

/** Two names that are not UTF-8 must not become one. */
function shownPath(entry: TreeEntry): string {
  const text = textOf(entry.path);
  return text.includes("\ufffd") ? JSON.stringify(entry.path) : text;
}
