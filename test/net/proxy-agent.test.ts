import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFetchRoom } from "../fetch/room.js";
import { amd64, failureOf, fullName, openTestRoom } from "../registry/samples.js";

/** What a proxy does with the first bytes of a connection. */
const PROXIES: Readonly<Record<string, (socket: Socket) => unknown>> = {
  close: (socket) => socket.end(),
  reset: (socket) => socket.resetAndDestroy(),
  silence: () => undefined,
  "407": (socket) => socket.end("HTTP/1.1 407 Authenticate\r\ncontent-length: 0\r\n\r\n"),
  "502": (socket) => socket.end("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n"),
  noise: (socket) => socket.end("220 mail.example.com ESMTP\r\n"),
  "200, then close": (socket) => {
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    socket.once("data", () => socket.end());
  },
  "200, then silence": (socket) => socket.write("HTTP/1.1 200 OK\r\n\r\n"),
};

const sockets: Socket[] = [];
let behave: (socket: Socket) => unknown = () => undefined;
const proxy = createServer((socket) => {
  sockets.push(socket);
  socket.on("error", () => undefined);
  socket.once("data", () => behave(socket));
});
let address = "";
beforeEach(async () => {
  sockets.length = 0;
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  address = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  proxy.close();
  await once(proxy, "close");
});

const CASES: readonly (readonly [string, string, number])[] = [
  ["close", "cannot be used: the connection was reset", 2],
  ["reset", "cannot be used: the connection was reset", 2],
  ["silence", "did not answer in time", 2],
  ["407", "answered 407: it wants a user and password, or others", 1],
  ["502", "answered 502", 2],
];

describe.each(CASES)("a proxy that answers CONNECT with %s", (name, message, tries) => {
  test("fails a download, after as many tries as may help", async () => {
    behave = PROXIES[name] ?? behave;
    await using room = openFetchRoom({
      env: { https_proxy: `http://me:canary@${address}` },
      timings: { connectMs: 300, retryBaseMs: 1 },
      retries: 1,
    });
    const failure = await failureOf(room.fetcher.download("https://files.example.com/x"));
    expect(failure).toMatchObject({ code: "network" });
    const told = `cannot fetch https://files.example.com/x: the proxy ${address} ${message}`;
    expect(failure.message).toBe(tries === 1 ? told : `${told} (gave up after ${tries} tries)`);
    expect(sockets).toHaveLength(tries);
  });

  test("fails a pull", async () => {
    behave = PROXIES[name] ?? behave;
    await using room = openTestRoom({
      env: { https_proxy: `http://${address}` },
      timings: { connectMs: 300 },
    });
    const app = fullName("registry.example.com/app:1");
    const failure = await failureOf(room.registry.find(app, amd64, { retries: 0 }));
    expect(failure).toMatchObject({ code: "network" });
    expect(failure.message).toContain(`the proxy ${address} ${message}`);
  });
});

test.each(["noise", "200, then close", "200, then silence"])("%s of a proxy ends", async (name) => {
  behave = PROXIES[name] ?? behave;
  await using room = openFetchRoom({
    env: { https_proxy: `http://${address}` },
    timings: { connectMs: 300 },
    retries: 0,
  });
  const failure = await failureOf(room.fetcher.download("https://files.example.com/x"));
  expect(failure).toMatchObject({ code: "network" });
  expect(sockets).toHaveLength(1);
});

test("a proxy that is not there is named", async () => {
  const gone = createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const { port } = gone.address() as AddressInfo;
  gone.close();
  await using room = openFetchRoom({ env: { all_proxy: `http://127.0.0.1:${port}` }, retries: 0 });
  const failure = await failureOf(room.fetcher.download("http://files.example.com/x"));
  expect(failure.message).toContain(`the proxy 127.0.0.1:${port} cannot be used: connection refused`);
});
