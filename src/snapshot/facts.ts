import { lstatSync, readFileSync } from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import type { BytePath, LayerFacts } from "../fs/index.js";
import { parseJsonDocument } from "../image/index.js";

/** Longer lists are not remembered: asking the kernel is cheaper than reading them each time. */
const MAX_REMEMBERED = 1000;
/** What the store's `layer.json` has room for, in characters. */
const MAX_IMPLICIT = 2_000_000;

/** Facts as they are remembered. Throws `unsupported` for a tar with absurdly many directories that have no entry. */
export function makeFacts(found: {
  readonly size: number;
  readonly hasEntries: boolean;
  readonly implicitDirs: readonly BytePath[];
  readonly opaqueDirs: readonly BytePath[];
  readonly xattrPaths: readonly BytePath[];
}): LayerFacts {
  const { size, hasEntries, implicitDirs, opaqueDirs, xattrPaths } = found;
  let length = 0;
  for (const dir of implicitDirs) length += dir.length + 3;
  if (length > MAX_IMPLICIT) {
    throw new CooperError(
      "unsupported",
      `a layer uses ${implicitDirs.length} directories that have no entry of their own: too many`,
    );
  }
  return {
    size,
    hasEntries,
    ...(implicitDirs.length > 0 ? { implicitDirs: implicitDirs.toSorted() } : {}),
    ...(opaqueDirs.length <= MAX_REMEMBERED ? { opaqueDirs: opaqueDirs.toSorted() } : {}),
    ...(xattrPaths.length <= MAX_REMEMBERED ? { xattrPaths: xattrPaths.toSorted() } : {}),
  };
}

/** The facts in a layer's directory; undefined when the layer was registered without. Throws `corrupt`, `io`. */
export function readFacts(dir: string): LayerFacts | undefined {
  const path = `${dir}/layer.json`;
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw ioError("read", path, error);
  }
  const { size, hasEntries, implicitDirs, opaqueDirs, xattrPaths } = parseJsonDocument(bytes, path);
  if (size === undefined) return undefined;
  const lists = [implicitDirs, opaqueDirs, xattrPaths];
  const areLists = lists.every(
    (list) => list === undefined || (Array.isArray(list) && list.every((one) => typeof one === "string")),
  );
  if (typeof size !== "number" || typeof hasEntries !== "boolean" || !areLists)
    throw new CooperError("corrupt", `${path} is damaged`);
  return {
    size,
    hasEntries,
    ...(implicitDirs ? { implicitDirs: implicitDirs as BytePath[] } : {}),
    ...(opaqueDirs ? { opaqueDirs: opaqueDirs as BytePath[] } : {}),
    ...(xattrPaths ? { xattrPaths: xattrPaths as BytePath[] } : {}),
  };
}

/** The path of one form of a layer in its directory, when it is there. */
export function formPath(dir: string | undefined, form: "tree" | "tar"): string | undefined {
  if (dir === undefined) return undefined;
  const stat = lstatSync(`${dir}/${form}`, { throwIfNoEntry: false });
  return (form === "tree" ? stat?.isDirectory() : stat?.isFile()) === true ? `${dir}/${form}` : undefined;
}
