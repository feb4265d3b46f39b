import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Digest } from "../../src/image/index.js";
import { failureOf, openFetchRoom, startServer } from "../fetch/room.js";

const expected = `sha256:${createHash("sha256").update("right").digest("hex")}` as Digest;

test("P05: a body with another checksum fails, and nothing of it is kept", async () => {
  await using server = await startServer((_, response) => response.setHeader("etag", '"1"').end("wrong"));
  await using room = openFetchRoom();
  const failure = await failureOf(room.fetcher.download(`${server.url}/f`, { checksum: expected }));
  expect(failure).toMatchObject({ code: "corrupt" });
  expect(failure.message).toContain(`instead of ${expected}`);
  expect(existsSync(room.cacheDir)).toBe(false);
  expect(readdirSync(join(room.scratchDir, readdirSync(room.scratchDir)[0] ?? ""))).toEqual([]);
  expect(server.log).toHaveLength(1);
});

test("P05: what the cache has is checked, too", async () => {
  await using server = await startServer((request, response) => {
    response.setHeader("etag", '"1"');
    if (request.headers["if-none-match"] === undefined) response.end("wrong");
    else response.writeHead(304).end();
  });
  await using room = openFetchRoom();
  await room.fetcher.download(`${server.url}/f`);
  const failure = await failureOf(room.fetcher.download(`${server.url}/f`, { checksum: expected }));
  expect(failure).toMatchObject({ code: "corrupt" });
});
