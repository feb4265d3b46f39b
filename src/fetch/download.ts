import { createHash } from "node:crypto";
import { chmod, open, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { CooperError, ioError, withoutQuery } from "../errors.js";
import { digestFromHex, digestOf } from "../image/index.js";
import type { Digest } from "../image/index.js";
import type { Reach } from "../net/index.js";
import { shownUrl } from "../net/index.js";
import { abortedError, FetchFailure, networkFailure, statusFailure } from "./failure.js";
import type { HttpCache, KnownBody } from "./http-cache.js";
import type { Answer, Timings, Transport } from "./transport.js";
import type { Download, DownloadOptions } from "./types.js";

const MAX_REDIRECTS = 10;

/** What downloads of one Fetcher share. */
export interface HttpRoom {
  readonly transport: Transport;
  readonly cache: HttpCache;
  readonly timings: Timings;
  /** Further tries after the first. */
  readonly retries: number;
  /** Bytes. */
  readonly maxSize: number;
  /** A path for a new file of ours. */
  readonly newFile: () => string;
}

/** One download that is under way. */
interface Task {
  readonly room: HttpRoom;
  /** Without user and fragment. */
  readonly url: URL;
  readonly authorization: string | undefined;
  readonly key: Digest;
  readonly options: DownloadOptions;
  /** Largest body that is accepted, bytes. */
  readonly limit: number;
}

/** `Fetcher.download`. */
export async function download(room: HttpRoom, text: string, options: DownloadOptions): Promise<Download> {
  const task = taskOf(room, text, options);
  const known = knownBody(task);
  // Only the checksum counts: whatever the server has now cannot be better.
  if (known && known.digest === options.checksum) {
    const path = room.newFile();
    if (await room.cache.take(task.key, known, path)) return downloadOf(task, known, path);
  }
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt(task, knownBody(task));
    } catch (error) {
      await waitOrGiveUp(task, networkFailure(error, task.url, options.signal), failures);
    }
  }
}

function knownBody({ room, key, limit }: Task): KnownBody | undefined {
  const known = room.cache.find(key);
  return known && known.size <= limit ? known : undefined;
}

function taskOf(room: HttpRoom, text: string, options: DownloadOptions): Task {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new CooperError("usage", `${withoutQuery(text)} is not a URL`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new CooperError("usage", `${withoutQuery(text)} cannot be downloaded: only http and https can`);
  const { username, password } = url;
  const user = `${decodedPart(username)}:${decodedPart(password)}`;
  const authorization = user === ":" ? undefined : `Basic ${Buffer.from(user).toString("base64")}`;
  url.username = "";
  url.password = "";
  url.hash = "";
  const limit = Math.min(room.maxSize, options.maxSize ?? Infinity);
  return { room, url, authorization, key: digestOf(url.href), options, limit };
}

function decodedPart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function attempt(task: Task, known: KnownBody | undefined): Promise<Download> {
  const { room, options } = task;
  const { answer, url } = await follow(task, known);
  try {
    if (answer.status === 304 && known) {
      const path = room.newFile();
      if (!(await room.cache.take(task.key, known, path))) return await attempt(task, undefined);
      checkSum(known.digest, task);
      return downloadOf(task, known, path);
    }
    if (answer.status !== 200 && answer.status !== 203)
      throw statusFailure(answer.status, headerOf(answer, "retry-after"), url);
    return await receive(task, answer, url);
  } catch (error) {
    throw networkFailure(error, url, options.signal);
  } finally {
    answer.body.destroy();
  }
}

/**
 * The first answer that is no redirect. Credentials go to the server that they were given for and to no other; https
 * is not left for http, unless a checksum says what must come; nobody sends us further inside than it is itself.
 */
async function follow(
  task: Task,
  known: KnownBody | undefined,
): Promise<{ readonly answer: Answer; readonly url: URL }> {
  const { room, authorization, options } = task;
  let { url } = task;
  let sentBy: Reach | undefined;
  for (let hops = 0; ; hops += 1) {
    const answer = await room.transport.get(
      url,
      {
        ...(authorization !== undefined && url.origin === task.url.origin ? { authorization } : {}),
        ...(known?.place === digestOf(url.href) ? conditionsOf(known) : {}),
      },
      { sentBy, signal: options.signal },
    );
    if (![301, 302, 303, 307, 308].includes(answer.status)) return { answer, url };
    answer.body.destroy();
    if (hops === MAX_REDIRECTS)
      throw new FetchFailure(
        "network",
        `cannot fetch ${shownUrl(task.url)}: more than ${MAX_REDIRECTS} redirects`,
      );
    sentBy = sentBy ?? room.transport.reach(url);
    url = redirected(task, url, headerOf(answer, "location"));
  }
}

function conditionsOf({ etag, lastModified }: KnownBody): Readonly<Record<string, string>> {
  if (etag !== undefined) return { "if-none-match": etag };
  return lastModified === undefined ? {} : { "if-modified-since": lastModified };
}

function redirected({ options }: Task, from: URL, location: string | undefined): URL {
  const refused = (why: string, hint?: string): FetchFailure =>
    new FetchFailure("network", `cannot fetch ${shownUrl(from)}: ${why}`, hint === undefined ? {} : { hint });
  if (location === undefined || !URL.canParse(location, from.href)) throw refused("it redirects to nowhere");
  const to = new URL(location, from);
  to.username = "";
  to.password = "";
  to.hash = "";
  if (to.protocol !== "http:" && to.protocol !== "https:")
    throw refused(`refused a redirect to ${to.protocol}, which is neither http nor https`);
  if (from.protocol === "https:" && to.protocol === "http:" && options.checksum === undefined)
    throw refused(
      `refused a redirect from https to ${shownUrl(to)}, which anybody on the way can change`,
      "with a checksum it is accepted",
    );
  return to;
}

/** Reads the body into a file of ours; nothing is left when it is not whole, too large or not what the checksum says. */
async function receive(task: Task, answer: Answer, url: URL): Promise<Download> {
  const { room, options, limit } = task;
  const tooLarge = (): CooperError =>
    new FetchFailure("network", `cannot fetch ${shownUrl(task.url)}: it is larger than ${limit} bytes`);
  if (Number(headerOf(answer, "content-length") ?? 0) > limit) throw tooLarge();
  const path = room.newFile();
  try {
    const { digest, size } = await writeBody(answer, path, (soFar) => {
      if (soFar > limit) throw tooLarge();
    });
    checkSum(digest, task);
    const etag = headerOf(answer, "etag");
    const lastModified = headerOf(answer, "last-modified");
    const body: KnownBody = {
      place: digestOf(url.href),
      digest,
      size,
      ...(etag === undefined ? {} : { etag }),
      ...(lastModified === undefined ? {} : { lastModified }),
    };
    await chmod(path, 0o400);
    const isWanted = (etag ?? lastModified ?? options.checksum) !== undefined;
    if (isWanted && !/\bno-store\b/i.test(headerOf(answer, "cache-control") ?? ""))
      room.cache.keep(task.key, body, path);
    return downloadOf(task, body, path);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function writeBody(
  answer: Answer,
  path: string,
  check: (soFar: number) => void,
): Promise<{ readonly digest: Digest; readonly size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  const write = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      throw ioError("write", path, error);
    }
  };
  const file = await open(path, "wx", 0o600).catch((error: unknown) => {
    throw ioError("write", path, error);
  });
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.byteLength;
      check(size);
      hash.update(chunk);
      await write(() => file.writeFile(chunk));
    }
  } finally {
    await file.close();
  }
  return { digest: digestFromHex(hash.digest("hex")), size };
}

function checkSum(found: Digest, { url, options }: Task): void {
  if (options.checksum === undefined || options.checksum === found) return;
  throw new CooperError("corrupt", `${shownUrl(url)} has the digest ${found} instead of ${options.checksum}`);
}

function downloadOf({ url }: Task, known: KnownBody, path: string): Download {
  const modified = Date.parse(known.lastModified ?? "");
  return {
    path,
    name: nameOf(url),
    size: known.size,
    digest: known.digest,
    modified: Number.isNaN(modified) ? undefined : modified,
  };
}

/** What a directory can hold as one name, from the last component of a path. Source: BuildKit, which decodes first. */
function nameOf(url: URL): string | undefined {
  const path = decodedPart(url.pathname);
  const name = path.split("/").findLast((part) => part !== "");
  // oxlint-disable-next-line no-control-regex -- no file should be named by control characters
  const isUnsafe = name === "." || name === ".." || /[\u0000-\u001f\u007f]/.test(name ?? "");
  return isUnsafe || Buffer.byteLength(name ?? "") > 255 ? undefined : name;
}

function headerOf(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

async function waitOrGiveUp(
  { room, url, options }: Task,
  error: CooperError,
  failures: number,
): Promise<void> {
  if (!(error instanceof FetchFailure) || !error.transient) throw error;
  if (failures > room.retries) {
    if (failures === 1) throw error;
    throw new FetchFailure(error.code, `${error.message} (gave up after ${failures} tries)`, {
      cause: error,
    });
  }
  const { retryBaseMs, retryCapMs } = room.timings;
  const ms = Math.min(retryCapMs, error.retryAfterMs ?? Math.random() * retryBaseMs * 2 ** (failures - 1));
  options.notice?.(
    `${shownUrl(url)}: ${error.message}; try ${failures + 1} of ${room.retries + 1} in ${(ms / 1000).toFixed(1)} s`,
  );
  try {
    await sleep(ms, undefined, options.signal ? { signal: options.signal } : {});
  } catch {
    throw abortedError();
  }
}
