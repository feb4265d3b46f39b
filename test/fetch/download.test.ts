import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Digest } from "../../src/image/index.js";
import { failureOf, openFetchRoom, startServer } from "./room.js";

const sha256 = (text: string): Digest =>
  `sha256:${createHash("sha256").update(text).digest("hex")}` as Digest;
const MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT";

describe("download", () => {
  test("brings the bytes, their digest, size, name and time, read-only", async () => {
    await using server = await startServer((_, response) =>
      response.setHeader("last-modified", MODIFIED).end("content"),
    );
    await using room = openFetchRoom();
    const got = await room.fetcher.download(`${server.url}/dir/file%20name?sig=1#x`);
    expect(got).toMatchObject({
      name: "file name",
      size: 7,
      digest: sha256("content"),
      modified: Date.parse(MODIFIED),
    });
    expect(readFileSync(got.path, "utf8")).toBe("content");
    expect(statSync(got.path).mode & 0o777).toBe(0o400);
    expect(server.log[0]?.headers).toMatchObject({ "accept-encoding": "identity" });
    await room.fetcher[Symbol.asyncDispose]();
    expect(readdirSync(room.scratchDir)).toEqual([]);
  });

  test.each(["etag", "last-modified"] as const)(
    "an unchanged body (%s) is not sent again",
    async (header) => {
      let sent = 0;
      let content = "one";
      const validator = () => (header === "etag" ? `"${content}"` : MODIFIED);
      await using server = await startServer((request, response) => {
        const asked = request.headers[header === "etag" ? "if-none-match" : "if-modified-since"];
        response.setHeader(header, validator());
        if (asked === validator() && content === "one") return void response.writeHead(304).end();
        sent += 1;
        response.end(content);
      });
      await using room = openFetchRoom();
      const read = async (): Promise<string> => {
        await using fetcher = room.again();
        return readFileSync((await fetcher.download(`${server.url}/f`)).path, "utf8");
      };
      expect([await read(), await read(), sent]).toEqual(["one", "one", 1]);
      content = "two";
      expect([await read(), sent]).toEqual(["two", 2]);
    },
  );

  test("a damaged body in the cache is fetched anew", async () => {
    await using server = await startServer((request, response) => {
      response.setHeader("etag", '"1"');
      if (request.headers["if-none-match"] === '"1"') response.writeHead(304).end();
      else response.end("whole");
    });
    await using room = openFetchRoom();
    await room.fetcher.download(server.url);
    const body = readdirSync(room.cacheDir).find((name) => name.endsWith(".body")) ?? "";
    writeFileSync(join(room.cacheDir, body), "wrong");
    expect(readFileSync((await room.fetcher.download(server.url)).path, "utf8")).toBe("whole");
  });

  test("a body whose checksum is known is not asked for", async () => {
    await using server = await startServer((_, response) => response.end("pinned"));
    await using room = openFetchRoom();
    const checksum = sha256("pinned");
    await room.fetcher.download(server.url, { checksum });
    await room.fetcher.download(server.url, { checksum });
    expect(server.log).toHaveLength(1);
  });

  test("what the server forbids to store is not stored", async () => {
    await using server = await startServer((_, response) =>
      response.setHeader("etag", '"1"').setHeader("cache-control", "private, no-store").end("x"),
    );
    await using room = openFetchRoom();
    await room.fetcher.download(server.url);
    expect(() => readdirSync(room.cacheDir)).toThrow("ENOENT");
  });

  test("resets and server errors are tried again, and told", async () => {
    let tries = 0;
    await using server = await startServer((_, response) => {
      tries += 1;
      if (tries === 1) return void response.destroy();
      if (tries === 2) return void response.writeHead(503, { "retry-after": "0" }).end();
      if (tries === 3) {
        response.writeHead(200, { "content-length": "10" }).write("part");
        return void setTimeout(() => response.destroy(), 20);
      }
      return void response.end("whole");
    });
    await using room = openFetchRoom();
    const notices: string[] = [];
    const got = await room.fetcher.download(server.url, { notice: (text) => void notices.push(text) });
    expect(readFileSync(got.path, "utf8")).toBe("whole");
    expect(notices).toHaveLength(3);
    expect(notices[1]).toContain("the server answered 503; try 3 of 4");
    expect(readdirSync(join(room.scratchDir, readdirSync(room.scratchDir)[0] ?? ""))).toHaveLength(1);
  });

  test("a server that never recovers ends it", async () => {
    await using server = await startServer((_, response) => response.writeHead(500).end());
    await using room = openFetchRoom();
    const failure = await failureOf(room.fetcher.download(server.url));
    expect(failure).toMatchObject({ code: "network" });
    expect(failure.message).toContain("the server answered 500 (gave up after 4 tries)");
  });

  test.each([
    [404, "not-found"],
    [410, "not-found"],
    [401, "denied"],
    [403, "denied"],
    [418, "network"],
    [206, "network"],
  ])("the answer %i is final", async (status, code) => {
    await using server = await startServer((_, response) => response.writeHead(status).end());
    await using room = openFetchRoom();
    expect(await failureOf(room.fetcher.download(server.url))).toMatchObject({ code });
    expect(server.log).toHaveLength(1);
  });

  test("silence ends it, before the head and in the body", async () => {
    await using mute = await startServer(() => undefined);
    await using stuck = await startServer((_, response) => void response.writeHead(200).write("x"));
    await using room = openFetchRoom({ retries: 0 });
    for (const { url } of [mute, stuck]) {
      const failure = await failureOf(room.fetcher.download(url));
      expect(failure.code).toBe("network");
      expect(failure.message).toMatch(/no answer in time|no more bytes came in time/);
    }
  });

  test("a body beyond the limit is refused, said or unsaid", async () => {
    await using server = await startServer((request, response) => {
      if (request.url === "/said") response.setHeader("content-length", "100");
      response.end("x".repeat(100));
    });
    await using room = openFetchRoom({ maxSize: 99 });
    for (const path of ["/said", "/unsaid"]) {
      const failure = await failureOf(room.fetcher.download(`${server.url}${path}`));
      expect(failure.message).toContain("it is larger than 99 bytes");
    }
    expect(readdirSync(join(room.scratchDir, readdirSync(room.scratchDir)[0] ?? ""))).toEqual([]);
  });

  test("the caller's signal ends it", async () => {
    const controller = new AbortController();
    await using server = await startServer(() => controller.abort());
    await using room = openFetchRoom();
    const work = room.fetcher.download(server.url, { signal: controller.signal });
    expect(await failureOf(work)).toMatchObject({ code: "aborted" });
  });

  test("a proxy of the environment is used", async () => {
    const asked: (string | undefined)[] = [];
    const proxy = createServer().on("connect", (request, socket) => {
      asked.push(request.url);
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nproxied"));
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    await using room = openFetchRoom({ env: { http_proxy: address } });
    const got = await room.fetcher.download("http://files.example.com/x");
    expect(readFileSync(got.path, "utf8")).toBe("proxied");
    expect(asked).toEqual(["files.example.com:80"]);
    proxy.close();
  });
});

describe("redirects", () => {
  test("are followed ten times, without credentials for others", async () => {
    await using storage = await startServer((_, response) => response.end("stored"));
    await using server = await startServer((request, response) => {
      const hop = Number(request.url?.slice(1));
      response.writeHead(302, { location: hop < 9 ? `/${hop + 1}` : `${storage.url}/end` }).end();
    });
    await using room = openFetchRoom();
    const url = server.url.replace("//", "//user:canary@");
    const got = await room.fetcher.download(`${url}/0`);
    expect([readFileSync(got.path, "utf8"), got.name]).toEqual(["stored", "0"]);
    expect(server.log.every(({ headers }) => headers.authorization?.startsWith("Basic "))).toBe(true);
    expect(storage.log.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test.each([
    ["/again", "more than 10 redirects"],
    ["file:///etc/passwd", "refused a redirect to file:"],
    ["http://[", "redirects to nowhere"],
  ])("to %s end it", async (location, message) => {
    await using server = await startServer((_, response) => response.writeHead(302, { location }).end());
    await using room = openFetchRoom();
    const failure = await failureOf(room.fetcher.download(server.url));
    expect(failure.message).toContain(message);
  });

  test("never lead further inside than where they come from", async () => {
    await using server = await startServer((_, response) =>
      response.writeHead(302, { location: "http://169.254.169.254/latest/meta-data" }).end(),
    );
    await using room = openFetchRoom();
    const failure = await failureOf(room.fetcher.download(server.url));
    expect(failure).toMatchObject({ code: "denied" });
    expect(failure.message).toContain("which is a link-local address");
  });
});

test("no secret of a URL stands in an error or in the cache", async () => {
  await using server = await startServer((request, response) => {
    if (request.url?.startsWith("/ok") === true) response.setHeader("etag", '"1"').end("x");
    else response.writeHead(404).end();
  });
  await using room = openFetchRoom();
  const url = server.url.replace("//", "//user:canary@");
  const failure = await failureOf(room.fetcher.download(`${url}/no?token=canary`));
  await room.fetcher.download(`${url}/ok?token=canary`);
  expect(`${failure.message} ${failure.hint}`).not.toContain("canary");
  const kept = readdirSync(room.cacheDir).map(
    (name) => name + readFileSync(join(room.cacheDir, name), "utf8"),
  );
  expect(kept).toHaveLength(2);
  expect(kept.join()).not.toContain("canary");
});

test("only http and https are downloaded", async () => {
  await using room = openFetchRoom();
  for (const url of ["file:///etc/passwd", "ftp://host/x", "nothing"])
    expect(await failureOf(room.fetcher.download(url))).toMatchObject({ code: "usage" });
});
