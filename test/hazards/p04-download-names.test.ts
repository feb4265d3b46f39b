import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { failureOf, openFetchRoom, startServer } from "../fetch/room.js";

test.each([
  ["/dir/file", "file"],
  ["/..%2f..%2fz", "z"],
  ["/a/..%2f..", undefined],
  ["/%2e%2e", undefined],
  ["/", undefined],
  ["/q/", "q"],
  ["/a%00b", undefined],
  ["/a%0ab", undefined],
  [`/${"n".repeat(256)}`, undefined],
  ["/..%5c..%5cx", "..\\..\\x"],
])("P04: %s names the file %s, whatever the server says", async (path, name) => {
  await using server = await startServer((_, response) =>
    response.setHeader("content-disposition", 'attachment; filename="../../x"').end("x"),
  );
  await using room = openFetchRoom();
  const got = await room.fetcher.download(`${server.url}${path}`);
  expect(got.name).toBe(name);
  expect(got.path.startsWith(`${room.scratchDir}/`)).toBe(true);
  expect(readdirSync(room.dir).toSorted()).toEqual(["scratch"]);
});

test("P04: a redirect to file: is refused", async () => {
  await using server = await startServer((_, response) =>
    response.writeHead(302, { location: "file:///etc/passwd" }).end(),
  );
  await using room = openFetchRoom();
  const failure = await failureOf(room.fetcher.download(`${server.url}/x`));
  expect(failure.message).toContain("refused a redirect to file:");
});
