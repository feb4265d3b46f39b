import { baseName, textOf } from "../fs/index.js";
import type { BytePath } from "../fs/index.js";
import { quoted, tarError } from "./tar-header.js";

/** Name that hides the name behind it in lower layers. Source: OCI image-spec layer.md, "Whiteouts". */
export const WHITEOUT_PREFIX = ".wh.";
/** Name of a file that makes its directory hide all of the same directory in lower layers. */
export const OPAQUE_NAME = ".wh..wh..opq";
/** Names that AUFS kept its own records under; they mean nothing in a layer. */
const AUFS_PREFIX = ".wh..wh.";

/**
 * Where what a tree cannot hold is kept beside it: a device node or an owner that the user namespace refuses. Only
 * trees of a rootless store have it, and only the scanner reads it.
 */
export const STAND_IN = "user.cooper.inode";

/** Deeper trees are refused: nothing makes them but attacks, and each level costs a walk. */
const MAX_DEPTH = 5000;
const MAX_NAME = 255;

/** True for a path whose own name a layer would take for a marker. */
export function isReserved(path: BytePath): boolean {
  return baseName(path).startsWith(WHITEOUT_PREFIX);
}

/** What a member's name means in a layer. */
export type MemberRole =
  | { readonly kind: "entry" | "whiteout" | "opaque"; readonly components: readonly string[] }
  | { readonly kind: "ignored" };

/**
 * A member's path as components inside the root: slashes at both ends, empty and "." components vanish; ".." climbs
 * but never above the root (`corrupt`), nor is a name accepted that no file system can hold.
 */
export function componentsOf(name: string, what: string): readonly string[] {
  if (name === "") throw tarError(what, "entry without a name");
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && parts.length === 0) throw tarError(what, `entry ${quoted(name)} leaves the root`);
    if (part === "..") parts.pop();
    else parts.push(part);
    if (part.length > MAX_NAME)
      throw tarError(what, `entry ${quoted(name)} has a name longer than ${MAX_NAME} bytes`);
  }
  if (parts.length > MAX_DEPTH)
    throw tarError(what, `entry ${quoted(name)} is nested deeper than ${MAX_DEPTH} directories`);
  return parts;
}

/** Tells whiteouts and markers from entries. Throws `corrupt` for a whiteout that names nothing. */
export function roleOf(name: string, what: string): MemberRole {
  const components = componentsOf(name, what);
  if (!name.includes(WHITEOUT_PREFIX)) return { kind: "entry", components };
  const last = components.at(-1) ?? "";
  const parents = components.slice(0, -1);
  if (parents.some((part) => part.startsWith(AUFS_PREFIX))) return { kind: "ignored" };
  if (parents.some((part) => part.startsWith(WHITEOUT_PREFIX)))
    throw tarError(what, `entry ${quoted(name)} lies inside a whiteout`);
  if (last === OPAQUE_NAME) return { kind: "opaque", components: parents };
  if (last.startsWith(AUFS_PREFIX)) return { kind: "ignored" };
  if (!last.startsWith(WHITEOUT_PREFIX)) return { kind: "entry", components };
  const hidden = last.slice(WHITEOUT_PREFIX.length);
  if (hidden === "" || hidden === "." || hidden === "..")
    throw tarError(what, `entry ${quoted(name)} is a whiteout that names no file`);
  return { kind: "whiteout", components: [...parents, hidden] };
}

/** The path as text for a message, whatever its bytes. */
export function shown(path: BytePath): string {
  return `"/${textOf(path)}"`;
}

/** True for attributes that travel in layers: not overlayfs's own, nor labels that only mean something on one host. */
export function isLayerXattr(name: string): boolean {
  if (name.startsWith("trusted.overlay.") || name.startsWith("user.overlay.")) return false;
  return (
    name !== "security.selinux" && name !== "security.ima" && name !== "security.evm" && name !== STAND_IN
  );
}

/** Only the attributes that travel in layers. */
export function layerXattrs(all: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> {
  for (const name of all.keys()) {
    if (!isLayerXattr(name)) return new Map([...all].filter(([kept]) => isLayerXattr(kept)));
  }
  return all;
}
