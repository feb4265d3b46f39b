import { existsSync, readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openFetchRoom, startServer } from "./room.js";
import type { FetchRoom } from "./room.js";

const DAY = 24 * 60 * 60;

/** Makes everything in the cache as old as if nobody had used it for so many days. */
function age(room: FetchRoom, days: number): void {
  const then = Date.now() / 1000 - days * DAY;
  for (const name of readdirSync(room.cacheDir)) utimesSync(join(room.cacheDir, name), then, then);
}

/** The paths of the server whose bodies are in the cache. */
function kept(room: FetchRoom): readonly string[] {
  if (!existsSync(room.cacheDir)) return [];
  const bodies = readdirSync(room.cacheDir).filter((name) => name.endsWith(".body"));
  return bodies.map((name) => readFileSync(join(room.cacheDir, name), "utf8").slice(0, 2)).toSorted();
}

const serve = () =>
  startServer((request, response) => {
    if (request.headers["if-none-match"] === "1") return void response.writeHead(304).end();
    return void response.setHeader("etag", "1").end(request.url?.padEnd(100));
  });

test("a body that nobody wanted for 30 days is removed by the next run that keeps one", async () => {
  await using server = await serve();
  await using room = openFetchRoom();
  const run = async (...paths: readonly string[]): Promise<void> => {
    await using fetcher = room.again();
    for (const path of paths) await fetcher.download(`${server.url}${path}`);
  };
  await run("/a", "/b");
  age(room, 31);
  await run("/a");
  expect(kept(room)).toEqual(["/a", "/b"]);
  await run("/c");
  expect(kept(room)).toEqual(["/a", "/c"]);
  age(room, 29);
  await run("/d");
  expect(kept(room)).toEqual(["/a", "/c", "/d"]);
  expect(readdirSync(room.cacheDir)).toHaveLength(6);
});

test("beyond the size the longest unused go first; what is larger alone is not kept", async () => {
  await using server = await serve();
  await using room = openFetchRoom();
  const run = async (path: string, maxCacheSize?: number): Promise<void> => {
    await using fetcher = room.again(maxCacheSize === undefined ? {} : { maxCacheSize });
    await fetcher.download(`${server.url}${path}`);
  };
  await run("/a");
  await run("/b");
  age(room, 1);
  await run("/a");
  await run("/c", 800);
  expect(kept(room)).toEqual(["/a", "/c"]);
  await run("/d", 50);
  expect(kept(room)).toEqual([]);
});
