import { readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, hasCode, ioError } from "../errors.js";
import { atomicWrite, stagedPath } from "../fs/index.js";
import { digestOf, formatReference, hexOf, isDigest, parseReference } from "../image/index.js";
import type { Digest, FullReference, ImageFormat } from "../image/index.js";
import type { StoreGround } from "./ground.js";
import { readSmall } from "./paths.js";
import type { StorePaths } from "./paths.js";

/** A file name can hold 255 bytes. */
const LONGEST_PLAIN_NAME = 200;

/** The file of a name: the name with "/", ":" and "@" escaped, or its digest when that is too long. Throws `invalid-name`. */
export function refFile(name: string): string {
  // Again, since a path is about to be made of it: no separator, no "..", no control character gets through.
  parseReference(name);
  const plain = encodeURIComponent(name);
  return plain.length <= LONGEST_PLAIN_NAME ? plain : `~${hexOf(digestOf(name))}`;
}

/** The canonical text of a name. Throws `invalid-name` for one that breaks the grammar, or says no registry. */
export function canonicalName(name: FullReference): string {
  const text = formatReference(name);
  if (parseReference(text).registry === undefined)
    throw new CooperError("invalid-name", `image name without a registry: ${text}`);
  return text;
}

/** What a name points to; undefined when it does not exist. Throws `corrupt` naming it. */
export function readRef(paths: StorePaths, name: string): Digest | undefined {
  return parseRef(paths, refFile(name))?.image;
}

/** As `readRef`, with the format in which the image is pushed and saved under this name, if its file says so. */
export function readNamed(
  paths: StorePaths,
  name: string,
): { readonly image: Digest; readonly format?: ImageFormat } | undefined {
  return parseRef(paths, refFile(name));
}

/** All names, sorted, with what they point to; damaged ones are reported by file. */
export function readRefs(
  paths: StorePaths,
  onCorrupt?: (file: string, reason: string) => void,
): ReadonlyMap<string, Digest> {
  const found: [string, Digest][] = [];
  for (const file of readdirSync(paths.refs)) {
    try {
      const ref = parseRef(paths, file);
      if (ref) found.push([ref.name, ref.image]);
    } catch (error) {
      if (!hasCode(error, "corrupt") && !hasCode(error, "invalid-name")) throw error;
      onCorrupt?.(file, (error as Error).message);
    }
  }
  return new Map(found.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Points a name to an image that is stored; atomic, and on disk when it returns. */
export function writeRef(
  { paths, session }: StoreGround,
  name: string,
  image: Digest,
  format: ImageFormat,
): void {
  const path = join(paths.refs, refFile(name));
  atomicWrite(path, `${image}\n${name}\n${format}\n`, {
    temp: stagedPath(paths.tmp, session.owner),
    durable: true,
    mode: 0o600,
  });
}

/** False when there was no such name. */
export function deleteRef(paths: StorePaths, name: string): boolean {
  const path = join(paths.refs, refFile(name));
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw ioError("remove", path, error);
  }
}

/** Image id, name and format, a line each; the name must be the file's. */
function parseRef(
  paths: StorePaths,
  file: string,
): { readonly name: string; readonly image: Digest; readonly format?: ImageFormat } | undefined {
  const what = `name ${decode(file)} of the store`;
  const bytes = readSmall(join(paths.refs, file), what);
  if (!bytes) return undefined;
  const [image, name = "", format = "", ...rest] = bytes.toString("utf8").split("\n");
  if (isDigest(image) && rest.join("") === "" && refFile(name) === file) {
    if (format === "") return { name, image };
    if (format === "oci" || format === "docker") return { name, image, format };
  }
  throw new CooperError("corrupt", `${what}: its file is damaged`, {
    hint: `tag the image again, or remove ${join(paths.refs, file)}`,
  });
}

function decode(file: string): string {
  try {
    return decodeURIComponent(file);
  } catch {
    return file;
  }
}
