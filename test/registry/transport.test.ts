import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { once } from "node:events";
import { createServer as createProxy } from "node:http";
import { createServer as createHttps } from "node:https";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { reply, startFakeRegistry } from "../support/fake-registry.js";
import { makeCertificates } from "../support/registry.js";
import { amd64, failureOf, fullName, openTestRoom, sampleImage, seed } from "./samples.js";

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-transport-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("a proxy from the environment carries TLS to the registry; its password is not shown", async () => {
  const caDir = join(dir, "proxy-ca");
  mkdirSync(caDir);
  const tls = makeCertificates(caDir, join(dir, "proxy-server"));
  await using fake = await startFakeRegistry({ tls });
  const port = fake.host.split(":")[1] ?? "";
  const asked: string[] = [];
  let open = true;
  const proxy = createProxy().on("connect", (request, socket) => {
    asked.push(`${request.url} ${request.headers["proxy-authorization"]}`);
    if (!open) return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    const upstream = connect(Number(port), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.pipe(socket).pipe(upstream);
    });
    for (const end of [upstream, socket]) end.on("error", () => undefined);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  try {
    const env = { https_proxy: `http://me:canary@127.0.0.1:${(proxy.address() as AddressInfo).port}` };
    const image = sampleImage();
    seed(fake, "app:1", image);
    const name = fullName(`registry.test:${port}/app:1`);
    await using room = openTestRoom({ env });
    const found = await room.registry.find(name, amd64, { certDir: caDir });
    expect(found.descriptor.digest).toBe(image.digest);
    expect(asked[0]).toBe(`registry.test:${port} Basic ${Buffer.from("me:canary").toString("base64")}`);
    open = false;
    await using other = openTestRoom({ env });
    const error = await failureOf(other.registry.find(name, amd64, { certDir: caDir, retries: 0 }));
    expect(error.code).toBe("network");
    expect(`${error.message} ${String(error.cause)}`).not.toContain("canary");
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test("a client certificate from certs.d is shown to the registry; one without its key is named", async () => {
  const certs = join(dir, "client");
  mkdirSync(certs);
  const tls = makeCertificates(certs, join(dir, "client-server"));
  const ca = readFileSync(join(certs, "ca.crt"));
  const server = createHttps(
    {
      cert: readFileSync(tls.cert),
      key: readFileSync(tls.key),
      ca,
      requestCert: true,
      rejectUnauthorized: true,
    },
    (_request, response) =>
      reply(response, 404, {}, { errors: [{ code: "REACHED", message: "with certificate" }] }),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const name = fullName(`127.0.0.1:${(server.address() as AddressInfo).port}/app:1`);
    await using room = openTestRoom();
    const find = () => failureOf(room.registry.find(name, amd64, { certDir: certs, retries: 0 }));
    expect((await find()).code).toBe("network");
    renameSync(tls.cert, join(certs, "mine.cert"));
    expect((await find()).message).toContain("mine.key is missing");
    renameSync(tls.key, join(certs, "mine.key"));
    await using second = openTestRoom();
    const error = await failureOf(second.registry.find(name, amd64, { certDir: certs, retries: 0 }));
    expect(error.message).toContain("REACHED: with certificate");
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("at most so many blobs move at once", async () => {
  await using fake = await startFakeRegistry();
  let now = 0;
  let most = 0;
  fake.script = async (request) => {
    if (request.method !== "PATCH") return false;
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 30));
    now -= 1;
    return false;
  };
  await using room = openTestRoom({ concurrency: 2 });
  await room.registry.push(sampleImage([1, 2, 3, 4, 5, 6]), fullName(`${fake.host}/app:1`), {});
  expect(most).toBe(2);
});

test("a wrong password is tried once, and the first layer that fails ends the others", async () => {
  await using fake = await startFakeRegistry();
  fake.script = (request, response) => {
    const challenge = { "www-authenticate": `Bearer realm="${fake.url}/token"` };
    return reply(response, 401, request.url?.startsWith("/token") ? {} : challenge);
  };
  await using room = openTestRoom();
  const image = sampleImage([10, 20, 30, 40, 50, 60]);
  const error = await failureOf(
    room.registry.push(image, fullName(`${fake.host}/app:1`), { creds: "user:wrong" }),
  );
  expect(error.code).toBe("auth");
  expect(error.message).toContain("no token for user user");
  expect(fake.lines().filter((line) => line.includes("/token"))).toHaveLength(1);
  let patches = 0;
  fake.script = (request, response) => {
    if (request.method !== "PATCH") return false;
    patches += 1;
    request.resume();
    return patches === 1 && reply(response, 403);
  };
  await using anonymous = openTestRoom({ concurrency: 1 });
  const refused = await failureOf(anonymous.registry.push(image, fullName(`${fake.host}/app:1`), {}));
  expect(refused.code).toBe("denied");
  expect(patches).toBe(1);
});
