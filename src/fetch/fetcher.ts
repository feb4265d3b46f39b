import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ioError } from "../errors.js";
import type { HttpRoom } from "./download.js";
import type { GitRoom } from "./git.js";
import { openHttpCache } from "./http-cache.js";
import type { Lookup, Timings } from "./transport.js";
import type { Fetcher } from "./types.js";

export interface FetcherOptions {
  /** Directory of ours for bodies that were received before; made when missing. */
  readonly cacheDir: string;
  /** An existing private directory for files that live as long as the Fetcher, on the same file system if possible. */
  readonly scratchDir: () => string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Further tries after the first; default 3. */
  readonly retries?: number;
  /** Largest body that is accepted, bytes; default 64 GiB. */
  readonly maxSize?: number;
  /** Bytes that bodies may take in `cacheDir` between runs; default 10 GiB. */
  readonly maxCacheSize?: number;
  /** Limits other than the defaults. */
  readonly timings?: Partial<Timings & { /** Without a word of git's, ms. */ readonly gitIdleMs: number }>;
  /** Instead of `/etc`. */
  readonly etc?: string;
  /** Instead of the system's resolver. */
  readonly lookup?: Lookup;
}

const GIT_IDLE_MS = 300_000;
const MAX_CACHE_SIZE = 10 * 1024 ** 3;
const MAX_SIZE = 64 * 1024 ** 3;
let opened = 0;

/**
 * Opens the room. Nothing is made or loaded and no connection opened before the first call: whoever only asks what a URL
 * is does not pay for TLS. Disposing removes its files.
 */
export function openFetcher(options: FetcherOptions): Fetcher {
  const scratch = scratchFiles(options.scratchDir);
  let http: Promise<HttpRoom> | undefined;
  const git: GitRoom = {
    env: options.env,
    idleMs: options.timings?.gitIdleMs ?? GIT_IDLE_MS,
    scratchDir: scratch.dir,
  };
  return {
    download: async (url, how = {}) => {
      const { download } = await import("./download.js");
      return download(await (http ??= openHttp(options, scratch.newFile)), url, how);
    },
    resolve: async (source, how = {}) => (await import("./git.js")).resolveRef(git, source, how),
    checkout: async (source, commit, how) =>
      (await import("./git.js")).checkoutCommit(git, source, commit, how),
    async [Symbol.asyncDispose]() {
      const room = await http;
      await room?.transport.close();
      room?.cache.trim();
      await scratch.remove();
    },
  };
}

async function openHttp(options: FetcherOptions, newFile: () => string): Promise<HttpRoom> {
  const { defaultTimings, openTransport } = await import("./transport.js");
  const { env, etc = "/etc", lookup } = options;
  const timings = { ...defaultTimings, ...options.timings };
  return {
    transport: openTransport({ env, etc, timings, lookup }),
    cache: openHttpCache(options.cacheDir, options.maxCacheSize ?? MAX_CACHE_SIZE),
    timings,
    retries: options.retries ?? 3,
    maxSize: options.maxSize ?? MAX_SIZE,
    newFile,
  };
}

/** A directory below the given one, made when it is first wanted. */
function scratchFiles(parent: () => string): {
  readonly dir: () => string;
  readonly newFile: () => string;
  readonly remove: () => Promise<void>;
} {
  let made: string | undefined;
  let files = 0;
  const dir = (): string => {
    if (made !== undefined) return made;
    const path = join(parent(), `fetch-${(opened += 1)}`);
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      throw ioError("make", path, error);
    }
    return (made = path);
  };
  return {
    dir,
    newFile: () => join(dir(), `body-${(files += 1)}`),
    remove: async () => {
      if (made !== undefined) await rm(made, { recursive: true, force: true });
    },
  };
}
