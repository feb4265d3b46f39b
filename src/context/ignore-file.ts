import type { BigIntStats } from "node:fs";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  realpathSync,
} from "node:fs";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { cleanGoPath, patternText, trimSpace } from "./go-path.js";
import type { IgnoreFile } from "./types.js";

const NAMES = [".containerignore", ".dockerignore"];
const MAX_BYTES = 1024 * 1024;
/** Go's `bufio.Scanner`, with which moby reads the file, refuses longer lines. */
const MAX_LINE_BYTES = 64 * 1024;
const BOM = "\u00ef\u00bb\u00bf";

/**
 * The ignore file of a context directory: `.containerignore`, else `.dockerignore`, else undefined; never both.
 * It must be a regular file of at most 1 MiB, or a symbolic link to one inside the context. Throws `context` for
 * anything else, since a build without its ignore file would copy what the user wants left out; never blocks, and
 * never quotes the content.
 */
export function readIgnoreFile(contextDir: string): IgnoreFile | undefined {
  for (const name of NAMES) {
    const path = `${contextDir}/${name}`;
    try {
      const status = lstatSync(path, { bigint: true, throwIfNoEntry: false });
      if (status) return { path, patterns: parseIgnoreFile(readInside(contextDir, name, status), name) };
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      throw new CooperError("context", ioError("read", name, error).message, { cause: error });
    }
  }
  return undefined;
}

/**
 * Lines of an ignore file as moby reads them: a `#` in the first column makes a comment, white space around a line and
 * after its `!` goes, paths are cleaned, one leading "/" is dropped. Throws `context` for a line over 64 KiB.
 * Source: moby/patternmatcher/ignorefile, `ReadAll`.
 */
export function parseIgnoreFile(bytes: Uint8Array, name: string): readonly string[] {
  const text = Buffer.from(bytes).toString("latin1");
  const lines = (text.startsWith(BOM) ? text.slice(BOM.length) : text).split("\n");
  const patterns: string[] = [];
  for (const [i, line] of lines.entries()) {
    if (line.length >= MAX_LINE_BYTES)
      throw new CooperError("context", `${name}:${i + 1}: the line is longer than 64 KiB`);
    if (line.startsWith("#")) continue;
    const pattern = trimSpace(patternText(line));
    if (pattern === "") continue;
    const reincludes = pattern.startsWith("!");
    patterns.push(reincludes ? `!${relative(trimSpace(pattern.slice(1)))}` : relative(pattern));
  }
  return patterns;
}

function relative(pattern: string): string {
  if (pattern === "") return "";
  const cleaned = cleanGoPath(pattern);
  return cleaned.length > 1 && cleaned.startsWith("/") ? cleaned.slice(1) : cleaned;
}

function readInside(contextDir: string, name: string, status: BigIntStats): Uint8Array {
  const root = realpathSync.native(contextDir);
  const path = status.isSymbolicLink() ? realTarget(root, name) : `${root}/${name}`;
  // Looked at before it is opened: opening a device may already do something.
  if (!lstatSync(path).isFile()) throw refused(name, "is not a regular file");
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw refused(name, "is not a regular file");
    if (readlinkSync(`/proc/self/fd/${fd}`) !== path) throw refused(name, "changed while it was read");
    return readAtMost(fd, name);
  } finally {
    closeSync(fd);
  }
}

function realTarget(root: string, name: string): string {
  let target: string;
  try {
    target = realpathSync.native(`${root}/${name}`);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") throw refused(name, "is a symbolic link to nothing");
    throw error;
  }
  if (!target.startsWith(root === "/" ? "/" : `${root}/`))
    throw refused(name, "is a symbolic link out of the context");
  return target;
}

function readAtMost(fd: number, name: string): Uint8Array {
  const buffer = Buffer.allocUnsafe(MAX_BYTES + 1);
  let length = 0;
  for (;;) {
    const got = readSync(fd, buffer, length, buffer.length - length, null);
    length += got;
    if (length > MAX_BYTES) throw refused(name, "is larger than 1 MiB");
    if (got === 0) return buffer.subarray(0, length);
  }
}

function refused(name: string, why: string): CooperError {
  return new CooperError("context", `the ignore file ${name} ${why}`);
}
