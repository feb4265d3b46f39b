/**
 * A path or file name as its exact bytes: one character per byte (latin1), so that names that are not UTF-8 survive,
 * `<` sorts bytewise, and it works as a Map key. Relative to a tree's root, "/" between names, "" is the root itself,
 * never with a leading or trailing slash, an empty, "." or ".." component, or a NUL.
 */
export type BytePath = string & { readonly __brand: "BytePath" };

/** The root of a tree. */
export const ROOT = "" as BytePath;

// oxlint-disable-next-line no-control-regex -- the range is what "ASCII" means
const ASCII = /^[\u0000-\u007f]*$/;

/** The bytes of ordinary text. */
export function bytesOf(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** The text of bytes, for messages and for matching against patterns; invalid UTF-8 becomes U+FFFD. */
export function textOf(bytes: string): string {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1").toString("utf8");
}

/** What `node:fs` must be given for a byte string: strings are encoded as UTF-8 by Node, so others go as a Buffer. */
export function fsPath(bytes: string): string | Buffer {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1");
}

/** Path of a name inside a directory of the same tree. */
export function joinPath(dir: BytePath, name: string): BytePath {
  return (dir === "" ? name : `${dir}/${name}`) as BytePath;
}

/** The directory that holds a path; the root's is the root. */
export function parentOf(path: BytePath): BytePath {
  return path.slice(0, Math.max(0, path.lastIndexOf("/"))) as BytePath;
}

/** The last component; "" for the root. */
export function baseName(path: BytePath): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * Any text path (absolute or not) as a path inside a tree: "." and empty components vanish, ".." climbs but never
 * above the root. Purely lexical: symbolic links are `resolvePath`'s business.
 */
export function cleanPath(path: string): BytePath {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return bytesOf(parts.join("/")) as BytePath;
}
