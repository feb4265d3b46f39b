import { createHash, randomBytes } from "node:crypto";
import {
  copyFileSync,
  createReadStream,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../errors.js";
import { ATOMIC_TEMP_PREFIX, atomicWrite, makeDirectories } from "../fs/index.js";
import { digestFromHex, isDigest } from "../image/index.js";
import type { Digest } from "../image/index.js";

/** What is known of a body that was received before. Holds no URL: they may carry secrets. */
export interface KnownBody {
  /** `digestOf` the URL that answered, after redirects: validators mean something only there. */
  readonly place: Digest;
  readonly etag?: string;
  readonly lastModified?: string;
  readonly digest: Digest;
  readonly size: number;
}

/** Bodies by the URL that was asked for, so that what did not change need not be sent again. */
export interface HttpCache {
  find(key: Digest): KnownBody | undefined;
  /** A file at `dest` with the known bytes, checked; false (and nothing at `dest`) when they are gone or damaged. */
  take(key: Digest, known: KnownBody, dest: string): Promise<boolean>;
  /** Keeps a body that is in a file of ours; what cannot be kept costs time, not the build. */
  keep(key: Digest, known: KnownBody, file: string): void;
  /** Removes bodies that nobody wanted for 30 days, and the longest unused beyond the size limit, if any was added. */
  trim(): void;
}

const MAX_UNUSED_MS = 30 * 24 * 60 * 60 * 1000;

/**
 * Opens the cache in a directory that need not exist. Each entry is `<key>.body` and then `<key>.json`, whose time is that
 * of its last use. `maxBytes`: of all bodies, after `trim`.
 */
export function openHttpCache(dir: string, maxBytes: number): HttpCache {
  let isGrown = false;
  const recordOf = (key: Digest): string => join(dir, `${key.slice("sha256:".length)}.json`);
  const bodyOf = (key: Digest): string => join(dir, `${key.slice("sha256:".length)}.body`);
  return {
    find(key) {
      try {
        return checkedRecord(JSON.parse(readFileSync(recordOf(key), "utf8")));
      } catch {
        return undefined;
      }
    },
    async take(key, known, dest) {
      try {
        linkOrCopy(bodyOf(key), dest);
        if ((await fileDigest(dest)) === known.digest) {
          const now = new Date();
          utimesSync(recordOf(key), now, now);
          return true;
        }
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
      }
      rmSync(dest, { force: true });
      rmSync(recordOf(key), { force: true });
      return false;
    },
    keep(key, known, file) {
      isGrown = true;
      const temp = join(dir, `${ATOMIC_TEMP_PREFIX}${process.pid}-${randomBytes(8).toString("hex")}`);
      try {
        makeDirectories(dir, 0o700);
        rmSync(recordOf(key), { force: true });
        linkOrCopy(file, temp);
        renameSync(temp, bodyOf(key));
        atomicWrite(recordOf(key), JSON.stringify(known), { mode: 0o600 });
      } catch {
        rmSync(temp, { force: true });
      }
    },
    trim() {
      let total = 0;
      for (const { paths, size, usedMs } of isGrown ? entriesOf(dir) : []) {
        if (Date.now() - usedMs < MAX_UNUSED_MS && total + size <= maxBytes) total += size;
        else for (const path of paths) rmSync(path, { force: true });
      }
    },
  };
}

interface Entry {
  /** Its record first: a body without one is nothing. */
  readonly paths: readonly string[];
  readonly size: number;
  readonly usedMs: number;
}

/** What is in the cache, the last used first; remains of killed processes are entries of their own. */
function entriesOf(dir: string): readonly Entry[] {
  const entries = new Map<string, Entry>();
  try {
    for (const name of readdirSync(dir).toSorted().toReversed()) {
      const status = statSync(join(dir, name), { throwIfNoEntry: false });
      if (!status) continue;
      const key = name.replace(/\.(?:body|json)$/, "");
      const { paths = [], size = 0, usedMs = 0 } = entries.get(key) ?? {};
      entries.set(key, {
        paths: [...paths, join(dir, name)],
        size: size + status.size,
        usedMs: Math.max(usedMs, status.mtimeMs),
      });
    }
  } catch {
    // It was never made, or is none of ours: then there is nothing to remove.
  }
  return [...entries.values()].toSorted((one, other) => other.usedMs - one.usedMs);
}

function checkedRecord(value: unknown): KnownBody | undefined {
  const record = value as Partial<KnownBody>;
  const isWhole = isDigest(record.place) && isDigest(record.digest) && typeof record.size === "number";
  return isWhole ? (record as KnownBody) : undefined;
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    if (errnoOf(error) !== "EXDEV" && errnoOf(error) !== "EPERM" && errnoOf(error) !== "EMLINK") throw error;
    copyFileSync(from, to);
  }
}

async function fileDigest(path: string): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return digestFromHex<Digest>(hash.digest("hex"));
}
