import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ioError } from "../errors.js";
import type { HttpRoom } from "./download.js";
import { download } from "./download.js";
import type { GitRoom } from "./git.js";
import { checkoutCommit, resolveRef } from "./git.js";
import { openHttpCache } from "./http-cache.js";
import type { Lookup, Timings } from "./transport.js";
import { defaultTimings, openTransport } from "./transport.js";
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
  /** Limits other than the defaults. */
  readonly timings?: Partial<Timings>;
  /** Instead of `/etc`. */
  readonly etc?: string;
  /** Instead of the system's resolver. */
  readonly lookup?: Lookup;
}

const MAX_SIZE = 64 * 1024 ** 3;
let opened = 0;

/** Opens the room. Nothing is made and no connection opened before the first call; disposing removes its files. */
export function openFetcher(options: FetcherOptions): Fetcher {
  const { env, etc = "/etc", lookup } = options;
  const timings = { ...defaultTimings, ...options.timings };
  const scratch = scratchFiles(options.scratchDir);
  const http: HttpRoom = {
    transport: openTransport({ env, etc, timings, lookup }),
    cache: openHttpCache(options.cacheDir),
    timings,
    retries: options.retries ?? 3,
    maxSize: options.maxSize ?? MAX_SIZE,
    newFile: scratch.newFile,
  };
  const git: GitRoom = { env, idleMs: timings.gitIdleMs, scratchDir: scratch.dir };
  return {
    download: (url, how = {}) => download(http, url, how),
    resolve: (source, how = {}) => resolveRef(git, source, how),
    checkout: (source, commit, how) => checkoutCommit(git, source, commit, how),
    async [Symbol.asyncDispose]() {
      await http.transport.close();
      await scratch.remove();
    },
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
