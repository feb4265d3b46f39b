import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { CooperError, errnoOf } from "../errors.js";

/**
 * Makes a directory and those above it; one that is there already stays as it is. Throws the failed call's own error, or `io`
 * when something else stands in its place.
 *
 * Node's `recursive: true` tries for ever, and cannot be interrupted, where mkdir answers ENOENT although the parent
 * is there, as it does in /proc.
 */
export function makeDirectories(path: string, mode = 0o777): void {
  if (made(path, mode)) return;
  makeDirectories(dirname(path), mode);
  mkdirUnlessThere(path, mode);
}

/** False when what is above is missing. */
function made(path: string, mode: number): boolean {
  try {
    mkdirUnlessThere(path, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT" && dirname(path) !== path) return false;
    throw error;
  }
}

function mkdirUnlessThere(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    // A mount point that may not be written to answers EROFS or EACCES, even where the directory is there.
    const there = statSync(path, { throwIfNoEntry: false });
    if (there?.isDirectory()) return;
    if (errnoOf(error) !== "EEXIST") throw error;
    const what = there ? "a file" : "a link that leads nowhere";
    throw new CooperError("io", `cannot make the directory ${path}: ${what} has that name`, { cause: error });
  }
}
