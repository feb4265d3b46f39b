import { chmodSync, lutimesSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { fsPath } from "../fs/index.js";

/**
 * Makes two checkouts of one commit alike: everything has the commit's time, and without `keepGitDir` the `.git` of
 * the repository and of its submodules is gone. No tree of git's can hold an entry of that name.
 */
export function settleTree(
  dest: string,
  { seconds, keepGitDir }: { readonly seconds: number; readonly keepGitDir: boolean },
): void {
  const dirs = [Buffer.from(dest).toString("latin1")];
  try {
    chmodSync(dest, 0o755);
    // A directory's own time comes last: removing something in it changes that.
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      for (const entry of readdirSync(fsPath(dir), { withFileTypes: true, encoding: "latin1" })) {
        const path = `${dir}/${entry.name}`;
        if (entry.name === ".git" && !keepGitDir) rmSync(fsPath(path), { recursive: true, force: true });
        else if (entry.isDirectory()) dirs.push(path);
        else lutimesSync(fsPath(path), seconds, seconds);
      }
      lutimesSync(fsPath(dir), seconds, seconds);
    }
  } catch (error) {
    throw ioError("prepare", dest, error);
  }
}

/**
 * The directory that a path inside a finished work tree means, links followed; nobody but us can reach the tree, so what
 * was looked at stays. Throws `not-found` when there is none, `denied` when a link leads out of the tree.
 */
export function insideTree(root: string, path: string, what: string): string {
  let real: string;
  try {
    real = realpathSync.native(join(root, path));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "ENOENT" && errno !== "ENOTDIR" && errno !== "ELOOP") throw ioError("read", path, error);
    throw new CooperError("not-found", `there is no directory ${path} in ${what}`);
  }
  const top = realpathSync.native(root);
  if (real !== top && !real.startsWith(`${top}/`))
    throw new CooperError("denied", `refused: a symbolic link in ${path} leads out of ${what}`);
  if (!statSync(real).isDirectory())
    throw new CooperError("not-found", `${path} in ${what} is not a directory`);
  return real;
}
