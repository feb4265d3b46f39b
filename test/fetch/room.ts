import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CooperError } from "../../src/errors.js";
import type { Fetcher, FetcherOptions, GitSource } from "../../src/fetch/index.js";
import { openFetcher } from "../../src/fetch/fetcher.js";
import { parseGitSource } from "../../src/fetch/index.js";

/** A Fetcher with directories of its own, all removed on dispose. */
export interface FetchRoom extends AsyncDisposable {
  readonly dir: string;
  readonly cacheDir: string;
  readonly scratchDir: string;
  readonly fetcher: Fetcher;
  /** A new empty directory. */
  empty(name: string): string;
  /** A second Fetcher over the same cache; the caller disposes it. */
  again(options?: Partial<FetcherOptions>): Fetcher;
}

/** No proxy of this machine, and waits that are too short to notice. */
export function openFetchRoom(options: Partial<FetcherOptions> = {}): FetchRoom {
  const dir = mkdtempSync(join(tmpdir(), "cooper-fetch-"));
  const cacheDir = join(dir, "cache");
  const scratchDir = join(dir, "scratch");
  mkdirSync(scratchDir);
  const open = (more: Partial<FetcherOptions> = {}): Fetcher =>
    openFetcher({
      cacheDir,
      scratchDir: () => scratchDir,
      env: { PATH: process.env["PATH"], HOME: dir },
      timings: { retryBaseMs: 1, retryCapMs: 5, connectMs: 1000, idleMs: 300 },
      ...options,
      ...more,
    });
  const fetcher = open();
  return {
    dir,
    cacheDir,
    scratchDir,
    fetcher,
    empty: (name) => {
      mkdirSync(join(dir, name));
      return join(dir, name);
    },
    again: open,
    async [Symbol.asyncDispose]() {
      await fetcher[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly log: readonly IncomingMessage[];
}

/** An HTTP server on loopback that does what `answer` says. */
export async function startServer(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<TestServer> {
  const log: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    log.push(request);
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** The CooperError that work ends in. */
export async function failureOf(work: Promise<unknown>): Promise<CooperError> {
  try {
    await work;
  } catch (error) {
    return error as CooperError;
  }
  throw new Error("it worked");
}

/** A git URL that must be one. */
export function gitSource(text: string): GitSource {
  const source = parseGitSource(text);
  if (!source) throw new Error(`no git URL: ${text}`);
  return source;
}
