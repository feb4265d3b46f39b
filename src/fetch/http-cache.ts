import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, createReadStream, linkSync, readFileSync, renameSync, rmSync } from "node:fs";
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
}

/** Opens the cache in a directory that need not exist. Each entry is `<key>.body` and then `<key>.json`. */
export function openHttpCache(dir: string): HttpCache {
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
        if ((await fileDigest(dest)) === known.digest) return true;
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
      }
      rmSync(dest, { force: true });
      rmSync(recordOf(key), { force: true });
      return false;
    },
    keep(key, known, file) {
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
  };
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
