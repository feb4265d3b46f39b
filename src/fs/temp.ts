import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ioError } from "../errors.js";
import type { StagedDirectory } from "./layer-home.js";
import { ownerIsAliveAsync } from "./owner.js";
import type { Owner } from "./owner.js";
import { removeTree } from "./remove.js";

const NAME = /^(.+)-(?:\d+|lease)$/;
let made = 0;

/**
 * A path in `tmpRoot` (which must exist) that nobody else uses and that says whose it is, so that a sweep by another
 * process leaves it alone until its owner is dead. Nothing is made there.
 */
export function stagedPath(tmpRoot: string, owner: Owner): string {
  made += 1;
  return join(tmpRoot, `${owner.token}-${made}`);
}

/**
 * A fresh private directory (0700), removed with all it holds on dispose, or by a sweep when we died. When somebody
 * renamed it away meanwhile, dispose does nothing. Throws `io`, `no-space`.
 */
export function stagedDirectory(tmpRoot: string, owner: Owner): StagedDirectory {
  owner.announce();
  const path = stagedPath(tmpRoot, owner);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    throw ioError("make", path, error);
  }
  return { path, [Symbol.asyncDispose]: () => removeTree(path) };
}

/**
 * Removes what dead owners left in `tmpRoot`, and what is no owner's at all, hostile trees too. What cannot be removed
 * stays for the next time. Returns the number of entries removed.
 */
export async function sweep(tmpRoot: string, socketDir: string): Promise<number> {
  const alive = new Map<string, boolean>();
  let removed = 0;
  for (const name of namesIn(tmpRoot)) {
    const path = join(tmpRoot, name);
    const owner = NAME.exec(name)?.[1] ?? "";
    if (!alive.has(owner)) alive.set(owner, await ownerIsAliveAsync(owner, socketDir, path));
    if (alive.get(owner) === true) continue;
    await removeTree(path).then(
      () => (removed += 1),
      () => undefined,
    );
  }
  return removed;
}

function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    throw ioError("read", dir, error);
  }
}
