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
  statSync,
} from "node:fs";
import { dirname, relative } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { parseIgnoreFile } from "./ignore-file.js";
import type { IgnoreFile, IgnoreFilePlaces } from "./types.js";

const SUFFIXES = [".containerignore", ".dockerignore"];
const MAX_BYTES = 1024 * 1024;

/** A place where an ignore file may lie. */
interface Candidate {
  readonly path: string;
  /** What messages call it: relative to the context when it lies in there. */
  readonly name: string;
  readonly place: "named" | "own" | "context";
}

/**
 * The ignore file in force, never more than one: the named one, else the Containerfile's own (`<file>.containerignore`,
 * `<file>.dockerignore`, beside it), else `.containerignore`, `.dockerignore` of the context; undefined when there is
 * none. It must be a regular file of at most 1 MiB. A symbolic link counts as the file that it leads to: anywhere when
 * the user named it; else inside the context, or for the own file of a Containerfile that lies elsewhere, inside that
 * Containerfile's directory. Throws `context` for anything else, since a build without its ignore file would copy what
 * the user wants left out, and `not-found` for a named one that is not there; never blocks, and never quotes the content.
 */
export function findIgnoreFile(places: IgnoreFilePlaces): IgnoreFile | undefined {
  const there = candidates(places).filter((candidate) => isThere(candidate));
  const [first, ...others] = there;
  if (!first) {
    if (places.ignoreFile === undefined) return undefined;
    throw new CooperError("not-found", `there is no ignore file ${places.ignoreFile}`);
  }
  return {
    path: first.path,
    name: first.name,
    lines: parseIgnoreFile(readCandidate(first, places), first.name),
    passedOver: others.filter((other) => !isSameFile(first.path, other.path)).map(({ name }) => name),
  };
}

function candidates({ contextDir, containerfile, ignoreFile }: IgnoreFilePlaces): readonly Candidate[] {
  const at = (path: string, place: Candidate["place"]): Candidate => {
    const inside = relative(contextDir, path);
    return { path, name: inside.startsWith("../") ? path : inside, place };
  };
  if (ignoreFile !== undefined) return [at(ignoreFile, "named")];
  const own = containerfile === undefined ? [] : SUFFIXES.map((suffix) => at(containerfile + suffix, "own"));
  return [...own, ...SUFFIXES.map((name) => at(`${contextDir}/${name}`, "context"))];
}

function isThere({ path, name }: Candidate): boolean {
  return reading(name, () => {
    try {
      return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    } catch (error) {
      // A Containerfile's name may leave no room for the suffix.
      if (errnoOf(error) === "ENAMETOOLONG" || errnoOf(error) === "ENOTDIR") return false;
      throw error;
    }
  });
}

/** True for a file and a link to it, or two names of one file: then there is nothing to choose. */
function isSameFile(one: string, other: string): boolean {
  try {
    const [a, b] = [statSync(one, { bigint: true }), statSync(other, { bigint: true })];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}

function readCandidate(candidate: Candidate, { contextDir }: IgnoreFilePlaces): Uint8Array {
  const { path, name } = candidate;
  return reading(name, () => {
    const real = realTarget(name, path);
    const context = realpathSync.native(contextDir);
    const dir = realpathSync.native(dirname(path));
    const isInContext = isInside(context, `${dir}/`);
    if (candidate.place !== "named" && !isInside(isInContext ? context : dir, real))
      throw refused(name, `is a symbolic link out of ${isInContext ? "the context" : "its directory"}`);
    return readRegular(name, real);
  });
}

function isInside(dir: string, path: string): boolean {
  return path.startsWith(dir === "/" ? "/" : `${dir}/`);
}

function realTarget(name: string, path: string): string {
  try {
    return realpathSync.native(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") throw refused(name, "is a symbolic link to nothing");
    throw error;
  }
}

/** `path` is without links. */
function readRegular(name: string, path: string): Uint8Array {
  // Looked at before it is opened: opening a device may already do something.
  requireRegular(name, lstatSync(path, { bigint: true }));
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    requireRegular(name, fstatSync(fd, { bigint: true }));
    if (readlinkSync(`/proc/self/fd/${fd}`) !== path) throw refused(name, "changed while it was read");
    return readAtMost(fd, name);
  } finally {
    closeSync(fd);
  }
}

function requireRegular(name: string, status: BigIntStats): void {
  if (!status.isFile()) throw refused(name, "is not a regular file");
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

function reading<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new CooperError("context", ioError("read", name, error).message, { cause: error });
  }
}

function refused(name: string, why: string): CooperError {
  return new CooperError("context", `the ignore file ${name} ${why}`);
}
