import { CooperError } from "../errors.js";
import type { TreeEntry } from "../fs/index.js";
import { layerXattrs } from "./layer-names.js";
import type { TarMember } from "./tar-header.js";
import { quoted, tarError } from "./tar-header.js";

/** A file's attributes without where it stands. */
export type Inode = Omit<TreeEntry, "path" | "linkId">;

/** PATH_MAX without its NUL. */
const MAX_TARGET = 4095;

/**
 * The attributes that a member may give a file: what a mount could take for its own records is dropped or refused.
 * Throws `corrupt`, `unsupported`, naming the entry.
 */
export function inodeOf(member: TarMember, what: string): Inode {
  const { type, mode, uid, gid, size, mtimeNs, device } = member;
  if (type === "link") throw new Error("a hard link has no attributes of its own");
  if (type === "char" && device?.major === 0 && device.minor === 0) {
    throw new CooperError(
      "unsupported",
      `${what}: entry ${quoted(member.name)} is a character device 0:0, which overlayfs takes for a deleted file`,
    );
  }
  if (type === "symlink" && (member.linkName === "" || member.linkName.length > MAX_TARGET)) {
    throw tarError(what, `entry ${quoted(member.name)} is a symbolic link whose target is empty or too long`);
  }
  const xattrs = member.xattrs && layerXattrs(member.xattrs);
  return {
    type,
    mode,
    uid,
    gid,
    size,
    mtimeNs,
    ...(type === "symlink" ? { target: member.linkName } : {}),
    ...(device ? { device } : {}),
    ...(xattrs && xattrs.size > 0 ? { xattrs } : {}),
  };
}
