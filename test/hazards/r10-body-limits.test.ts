import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { reply, startFakeRegistry } from "../support/fake-registry.js";
import type { FakeRegistry } from "../support/fake-registry.js";
import { amd64, bearer, failureOf, fullName, openTestRoom, sampleImage, seed } from "../registry/samples.js";

/** Sends as long as somebody reads; tells how much that was. */
function endless(response: ServerResponse, status = 200): { readonly sent: () => number } {
  response.writeHead(status, { "content-type": "application/json" });
  let sent = 0;
  const more = () => {
    while (!response.destroyed && response.write(Buffer.alloc(65536, " "))) sent += 65536;
    response.once("drain", more);
  };
  more();
  return { sent: () => sent };
}

async function failure(fake: FakeRegistry, timings = {}) {
  await using room = openTestRoom({ timings });
  return failureOf(
    room.registry.find(fullName(`${fake.host}/app:1`), amd64, { retries: 0, creds: "u:canary" }),
  );
}

describe("R10: answers have a limit", () => {
  test("a manifest of 4 MiB and a byte", async () => {
    await using fake = await startFakeRegistry();
    fake.manifests.set("app/1", {
      type: "application/vnd.oci.image.manifest.v1+json",
      bytes: Buffer.alloc(4 * 1024 * 1024 + 1, " "),
    });
    const error = await failure(fake);
    expect(error.code).toBe("corrupt");
    expect(error.message).toContain("larger than 4194304 bytes");
  });

  test.each([
    ["token", 1024 * 1024],
    ["error", 64 * 1024],
  ])("an endless %s body is cut", async (kind, limit) => {
    let sent = () => 0;
    await using fake = await startFakeRegistry({
      script: (request, response, log) => {
        const here =
          kind === "token" ? request.url?.startsWith("/token") : request.url?.includes("/manifests/");
        if (!here) return kind === "token" ? bearer()(request, response, log) : false;
        ({ sent } = endless(response, kind === "token" ? 200 : 418));
        return true;
      },
    });
    const error = await failure(fake);
    expect(error.message).toContain(
      kind === "token" ? "larger than 1048576 bytes" : "the registry answered 418",
    );
    // Sockets and pipes hold some megabytes beyond what was read.
    expect(sent()).toBeLessThan(limit + 16 * 1024 * 1024);
  });

  test("a compressed document, which we did not ask for", async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, " "));
    await using fake = await startFakeRegistry({
      script: (request, response) =>
        request.url?.includes("/manifests/") === true &&
        reply(response, 200, { "content-encoding": "gzip" }, bomb),
    });
    const error = await failure(fake);
    expect(error.code).toBe("corrupt");
    expect(fake.log.every(({ headers }) => headers["accept-encoding"] === "identity")).toBe(true);
  });

  test("a byte now and then: silent servers and documents that never end", async () => {
    let mode = "";
    await using fake = await startFakeRegistry({
      script: (request, response) => {
        if (!request.url?.includes("/manifests/")) return false;
        if (mode === "silent") return true;
        response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" });
        const timer = setInterval(() => response.write(" "), 50);
        response.on("close", () => clearInterval(timer));
        return true;
      },
    });
    mode = "silent";
    expect((await failure(fake, { idleMs: 300 })).message).toContain("no answer in time");
    mode = "drip";
    expect((await failure(fake, { idleMs: 300, documentMs: 500 })).message).toContain("did not come in time");
  });

  test("headers that drip", async () => {
    await using fake = await startFakeRegistry({
      script: (request, response) => {
        if (!request.url?.includes("/manifests/")) return false;
        const { socket } = response;
        socket?.write("HTTP/1.1 200 OK\r\nX-Slow: ");
        const timer = setInterval(() => socket?.write("a"), 50);
        socket?.on("close", () => clearInterval(timer));
        return true;
      },
    });
    expect((await failure(fake, { idleMs: 400 })).code).toBe("network");
  });

  test("an image of ordinary size is not touched by all this", async () => {
    await using fake = await startFakeRegistry();
    const image = sampleImage();
    seed(fake, "app:1", image);
    await using room = openTestRoom({ timings: { idleMs: 2000, documentMs: 5000 } });
    expect((await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {})).descriptor.digest).toBe(
      image.digest,
    );
  });
});
