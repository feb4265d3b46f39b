import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../errors.js";
import type { StorePaths } from "./paths.js";

/** A little room on the disk, so that images can still be removed when it is full: even a removal has to write its lease. */
export const BALLAST = "ballast";
const FILES = 4;
const FILE_BYTES = 16 * 1024;

/** Takes the room, if it is not taken; without complaint where there is none. */
export function loadBallast(paths: StorePaths): void {
  const dir = join(paths.locks, BALLAST);
  if (existsSync(dir)) return;
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch {
    return;
  }
  try {
    for (let i = 0; i < FILES; i += 1)
      writeFileSync(join(dir, String(i)), Buffer.alloc(FILE_BYTES), { mode: 0o600 });
  } catch {
    dropBallast(paths);
  }
}

/** Gives the room back, for something that must be written now, unless somebody takes it at this moment. */
export function dropBallast(paths: StorePaths): void {
  try {
    rmSync(join(paths.locks, BALLAST), { recursive: true, force: true });
  } catch {
    // Whoever needs the room tries without it, and fails with a reason of its own.
  }
}

/** Tries something; once more without the ballast when the disk was full. */
export async function withBallast<T>(paths: StorePaths, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!hasCode(error, "no-space")) throw error;
    dropBallast(paths);
    return step();
  }
}
