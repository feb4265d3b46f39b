import { createHash } from "node:crypto";
import type { CacheKey, InputFile, KeyComponent } from "./types.js";

/** Part of every key and of the path of every record. Raised when the formula changes in any way. */
export const FORMULA = 1;

const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * The key of a step: sha256 over frames, a frame being `<bytes>:<UTF-8>` with the length in decimal, so that no two
 * lists of strings share an encoding. In order: `cooper-cache-key`, the formula's number, the number of components, each
 * component's name and value as given, and the digest of the files, or an empty frame when there are none to have.
 * That digest is sha256 over `cooper-input-files`, the formula's number, and path and digest of each file by path. Order
 * of components counts, order of files does not; labels and what explains a file do not count.
 * Throws a plain Error for two components of one name.
 */
export function makeKey(components: readonly KeyComponent[], files?: readonly InputFile[]): CacheKey {
  assertUnique(components.map((component) => component.name));
  const sorted = files && sortByPath(files);
  const filesDigest = sorted && digestOfFiles(sorted);
  const named = components.flatMap(({ name, value }) => [name, value]);
  const frames = [
    "cooper-cache-key",
    String(FORMULA),
    String(components.length),
    ...named,
    filesDigest ?? "",
  ].map(frame);
  const key = createHash("sha256").update(frames.join("")).digest("hex");
  return sorted && filesDigest !== undefined
    ? { key, components, files: sorted, filesDigest }
    : { key, components };
}

function digestOfFiles(files: readonly InputFile[]): string {
  const hash = createHash("sha256");
  let frames = frame("cooper-input-files") + frame(String(FORMULA));
  for (const { path, digest } of files) {
    frames += frame(path) + frame(digest);
    // Few large updates: each costs as much as hashing a hundred bytes.
    if (frames.length < 16_384) continue;
    hash.update(frames);
    frames = "";
  }
  return hash.update(frames).digest("hex");
}

/** By path; names that are not UTF-8 may look alike as text, so then by digest. */
function sortByPath(files: readonly InputFile[]): readonly InputFile[] {
  const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return files.toSorted((a, b) => order(a.path, b.path) || order(a.digest, b.digest));
}

function assertUnique(names: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw new Error(`two components of one name: ${name}`);
    seen.add(name);
  }
}

/** Text with a lone surrogate has no UTF-8; it goes as JSON, whose frame ends in "!" and so is like no other. */
function frame(text: string): string {
  if (!LONE_SURROGATE.test(text)) return `${Buffer.byteLength(text)}:${text}`;
  const json = JSON.stringify(text);
  return `${Buffer.byteLength(json)}!${json}`;
}
