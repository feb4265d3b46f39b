import { lstatSync, readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { ATOMIC_TEMP_PREFIX } from "../fs/index.js";
import type { StorePaths } from "./paths.js";

/** No atomic write takes a day. */
const STALE_MS = 24 * 3600 * 1000;
const DEEPEST = 4;

/**
 * Removes temporaries that killed processes left beside what they wrote (in `cache/`, where other rooms write). Their names
 * do not say whether their owner lives in another container, so their age decides, whichever way the clock was set.
 */
export function removeStaleTemporaries({ root, cache }: StorePaths): void {
  clean(root, DEEPEST);
  clean(cache, 0);
}

function clean(dir: string, depth: number): void {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory() && depth < DEEPEST) clean(path, depth + 1);
    else if (entry.isFile() && entry.name.startsWith(ATOMIC_TEMP_PREFIX) && isStale(path)) unlinkSync(path);
  }
}

function isStale(path: string): boolean {
  return Math.abs(Date.now() - lstatSync(path).mtimeMs) > STALE_MS;
}
