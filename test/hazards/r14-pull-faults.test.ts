import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { retryAfter } from "../../src/registry/answers.js";
import { reply, replyError, startFakeRegistry } from "../support/fake-registry.js";
import type { FakeRegistry } from "../support/fake-registry.js";
import {
  amd64,
  bearer,
  failureOf,
  fullName,
  memoryBlobs,
  openTestRoom,
  sampleImage,
  seed,
} from "../registry/samples.js";
import type { TestRoom } from "../registry/samples.js";

const MIB = 1024 * 1024;

/** Pulls the only layer of `app:1`, with faults that begin after the manifest. */
async function pullLayer(
  fake: FakeRegistry,
  room: TestRoom,
  size: number,
  script: FakeRegistry["script"],
  retries = 3,
) {
  const image = sampleImage([size]);
  fake.script = () => false;
  seed(fake, "app:1", image);
  const found = await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {
    retries,
    onEvent: room.onEvent,
  });
  const [layer] = found.manifest.layers;
  if (!layer) throw new Error("no layer");
  const bytes = fake.blobs.get(layer.digest) ?? Buffer.alloc(0);
  fake.script = script;
  const before = fake.log.length;
  const sink = memoryBlobs();
  const requests = () => fake.log.slice(before);
  return { layer, bytes, sink, requests, done: found.fetchLayer(layer, sink) };
}

/** Sends from the asked start, at most `limit` bytes, then resets the connection (unread bytes are lost) or just closes it. */
function sendThenBreak(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  limit: number,
  how: "reset" | "close" = "reset",
): number {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const end = Math.min(bytes.byteLength, start + limit);
  const headers = {
    "content-length": bytes.byteLength - start,
    "content-range": `bytes ${start}-${bytes.byteLength - 1}/${bytes.byteLength}`,
  };
  const socket = request.socket;
  response.writeHead(start > 0 ? 206 : 200, headers);
  response.write(bytes.subarray(start, end), () => {
    if (end === bytes.byteLength) response.end();
    else if (how === "close") socket.end();
    else setTimeout(() => socket.resetAndDestroy(), 20);
  });
  return end - start;
}

describe("R14, N1: broken transfers", () => {
  test("go on where they broke; nothing is fetched twice, and progress renews the patience", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    let served = 0;
    const target = await pullLayer(
      fake,
      room,
      12 * MIB,
      (request, response) => {
        served += sendThenBreak(request, response, target.bytes, 1.5 * MIB, "close");
        return true;
      },
      1,
    );
    await target.done;
    expect(target.sink.has(target.layer.digest)).toBe(true);
    expect(target.requests().length).toBeGreaterThan(6);
    expect(served).toBeLessThan(2 * target.bytes.byteLength);
  });

  test("begin again where the server has no ranges; the sink sees one stream", async () => {
    await using fake = await startFakeRegistry({ ranges: false });
    await using room = openTestRoom();
    let faults = 2;
    const target = await pullLayer(fake, room, 300_000, (request, response) => {
      if (faults === 0) return false;
      faults -= 1;
      delete request.headers.range;
      sendThenBreak(request, response, target.bytes, 100_000);
      return true;
    });
    await target.done;
    expect(target.sink.has(target.layer.digest)).toBe(true);
  });

  test("416 on resume, and a range that was not asked for", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    let step = 0;
    const target = await pullLayer(fake, room, 300_000, (request, response) => {
      step += 1;
      if (step === 1) return sendThenBreak(request, response, target.bytes, 100_000) > 0;
      return step === 2 && reply(response, 416);
    });
    await target.done;
    expect(target.requests().map(({ headers }) => headers.range === undefined)).toEqual([true, false, true]);
    step = 0;
    const wrong = await pullLayer(fake, room, 300_000, (request, response) => {
      step += 1;
      if (step === 1) return sendThenBreak(request, response, wrong.bytes, 100_000) > 0;
      return reply(response, 206, { "content-range": "bytes 5-10/11" }, "abcdef");
    });
    expect((await failureOf(wrong.done)).message).toContain("another range than we asked for");
    expect(wrong.sink.blobs.size).toBe(0);
  });

  test("N4: silence in the middle of a layer is noticed by lack of progress, and survived", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom({ timings: { idleMs: 300 } });
    let stalls = 1;
    const target = await pullLayer(fake, room, 300_000, (_request, response) => {
      if (stalls === 0) return false;
      stalls -= 1;
      response.writeHead(200, { "content-length": target.bytes.byteLength });
      response.write(target.bytes.subarray(0, 1000));
      return true;
    });
    await target.done;
    expect(target.requests()[1]?.headers.range).toBe("bytes=1000-");
  });

  test("N5: wrong bytes, too many and too few are refused without a storm, and nothing is stored", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const answers: readonly ((bytes: Buffer) => Buffer)[] = [
      (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]),
      (bytes) => Buffer.concat([bytes, Buffer.from("junk")]),
      (bytes) => bytes.subarray(0, -1),
    ];
    for (const change of answers) {
      for (const chunked of [false, true]) {
        const target = await pullLayer(
          fake,
          room,
          10_000,
          (_request, response) => {
            if (!chunked) return reply(response, 200, {}, change(target.bytes));
            response.writeHead(200);
            response.end(change(target.bytes));
            return true;
          },
          1,
        );
        const error = await failureOf(target.done);
        expect(["corrupt", "network"]).toContain(error.code);
        expect(target.requests().length).toBeLessThanOrEqual(2);
        expect(target.sink.blobs.size).toBe(0);
      }
    }
  });
});

test("N5: a layer that never ends is cut at the size that its manifest says", async () => {
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  const target = await pullLayer(fake, room, 10_000, (_request, response) => {
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65536)));
      response.once("drain", more);
    };
    more();
    return true;
  });
  const error = await failureOf(target.done);
  expect(error.message).toContain(`it has more than ${target.bytes.byteLength} bytes`);
  expect(target.requests()).toHaveLength(1);
});

describe("R14, N2, N3: refusals that pass", () => {
  test("Retry-After as seconds or date; junk is no order", () => {
    expect(retryAfter("2")).toBe(2000);
    expect(retryAfter("0")).toBe(0);
    expect(retryAfter("9999999")).toBe(9_999_999_000);
    expect(retryAfter(new Date(Date.now() + 60_000).toUTCString())).toBeGreaterThan(50_000);
    expect(retryAfter(new Date(Date.now() - 60_000).toUTCString())).toBe(0);
    for (const junk of [undefined, "soon", "-5", "1e9", "", "99999999999999999999"])
      expect(retryAfter(junk)).toBeUndefined();
  });

  test("waits are told, capped, and as long as asked", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom({ timings: { retryCapMs: 40 } });
    seed(fake, "app:1", sampleImage());
    const answers = ["9999999", "0", "junk"];
    fake.script = (request, response) => {
      const next = request.url?.includes("manifests") === true ? answers.shift() : undefined;
      return (
        next !== undefined &&
        replyError(response, 429, "TOOMANYREQUESTS", "slow down", { "retry-after": next })
      );
    };
    await room.registry.find(fullName(`${fake.host}/app:1`), amd64, { onEvent: room.onEvent });
    const notices = room.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
    expect(notices[0]).toBe(`${fake.host}/app:1: the registry answered 429; try 2 of 4 in 0.0 s`);
    expect(notices).toHaveLength(3);
  });

  test("503 three times and then not", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    seed(fake, "app:1", sampleImage());
    let left = 3;
    fake.script = (request, response) =>
      request.url?.includes("manifests") === true && left-- > 0 && reply(response, 503);
    expect((await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {})).config.os).toBe("linux");
    left = 1000;
    const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}));
    expect(error.code).toBe("registry");
    expect(error.message).toBe(
      `cannot pull ${fake.host}/app:1: the registry answered 503 (GET http://${fake.host}/v2/app/manifests/1) (gave up after 4 tries)`,
    );
  });

  test("other refusals are not repeated", async () => {
    for (const status of [400, 403, 404, 418, 501]) {
      await using fake = await startFakeRegistry({
        script: (request, response) => request.url !== "/v2/" && replyError(response, status, "NO", "no"),
      });
      await using room = openTestRoom();
      const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}));
      expect(error.message).toContain(`${status} NO: no`);
      expect(fake.log).toHaveLength(2);
    }
  });
});

test("N6: a token that expires at any request is renewed, once per refusal", async () => {
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  const image = sampleImage([1000, 2000]);
  seed(fake, "app:1", image);
  let uses = 0;
  // Every token is good for one request only.
  const used = new Set<string>();
  fake.script = bearer({
    token: () => ({ token: `t${uses++}`, expires_in: 300 }),
    accepts: (token) => !used.has(token) && used.add(token).size > 0,
  });
  const found = await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {});
  const sink = memoryBlobs();
  for (const layer of found.manifest.layers) await found.fetchLayer(layer, sink);
  expect(sink.blobs.size).toBe(2);
});

test("a token is renewed before it expires, by the monotonic clock", async () => {
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  seed(fake, "app:1", sampleImage());
  fake.script = bearer({ token: (count) => ({ token: `t${count}`, expires_in: 0.2 }) });
  const find = () => room.registry.find(fullName(`${fake.host}/app:1`), amd64, {});
  await find();
  await new Promise((resolve) => setTimeout(resolve, 250));
  await find();
  const tokens = fake.lines().filter((line) => line.includes("/token"));
  expect(tokens.length).toBeGreaterThanOrEqual(2);
  const refusals = fake.log.filter(
    ({ url, headers }) => url.includes("manifests") && headers.authorization === undefined,
  );
  expect(refusals).toEqual([]);
});

test("N9: an abort ends a pull at once, whatever it waits for", async () => {
  for (const wait of ["answer", "body", "retry"]) {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom({ timings: { retryBaseMs: 60_000 } });
    seed(fake, "app:1", sampleImage());
    const abort = new AbortController();
    fake.script = (request, response) => {
      if (!request.url?.includes("manifests")) return false;
      setTimeout(() => abort.abort(), 50);
      if (wait === "retry") return reply(response, 503);
      if (wait === "body") response.writeHead(200).write("{");
      return true;
    };
    const error = await failureOf(
      room.registry.find(fullName(`${fake.host}/app:1`), amd64, { signal: abort.signal }),
    );
    expect(error.code).toBe("aborted");
  }
});

test("mirrors: the next place is tried, --creds never go to a mirror, all failures are told a line each", async () => {
  const { mkdirSync, writeFileSync } = await import("node:fs");
  await using mirror = await startFakeRegistry();
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  mkdirSync(`${room.etc}/containers`);
  writeFileSync(
    `${room.etc}/containers/registries.conf`,
    `unqualified-search-registries = ["${fake.host}"]\n[[registry]]\nlocation = "${fake.host}"\n[[registry.mirror]]\nlocation = "${mirror.host}/cache"\n`,
  );
  const image = sampleImage();
  const basic: FakeRegistry["script"] = (request, response) =>
    request.headers.authorization === undefined &&
    replyError(response, 401, "UNAUTHORIZED", "who", { "www-authenticate": 'Basic realm="r"' });
  mirror.script = basic;
  fake.script = basic;
  seed(fake, "app:1", image);
  const found = await room.registry.find({ repository: "app", tag: "1" }, amd64, { creds: "u:canary" });
  expect(found.descriptor.digest).toBe(image.digest);
  expect(mirror.lines()).toContain("GET /v2/cache/app/manifests/1");
  expect(mirror.log.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  const error = await failureOf(
    room.registry.find({ repository: "none", tag: "1" }, amd64, { creds: "u:canary" }),
  );
  expect(error.message.split("\n")).toEqual([
    "cannot pull none:1; tried:",
    expect.stringContaining(`  ${mirror.host}/cache/none:1: cannot pull`) as string,
    expect.stringContaining(`  ${fake.host}/none:1: cannot pull`) as string,
  ]);
  expect(error.code).toBe("auth");
});
