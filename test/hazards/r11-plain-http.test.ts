import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { proxyFor } from "../../src/net/index.js";
import { startFakeRegistry } from "../support/fake-registry.js";
import { makeCertificates } from "../support/registry.js";
import { amd64, failureOf, fullName, openTestRoom, sampleImage, seed } from "../registry/samples.js";

const toLoopback = {
  lookup: (
    _name: string,
    _options: unknown,
    done: (e: null, a: { address: string; family: number }[]) => void,
  ) => done(null, [{ address: "127.0.0.1", family: 4 }]),
};

test("R11: a registry that speaks only plain HTTP is used only after somebody said so", async () => {
  await using fake = await startFakeRegistry();
  const image = sampleImage();
  seed(fake, "app:1", image);
  await using room = openTestRoom(toLoopback);
  const name = fullName(`registry.test:${fake.host.split(":")[1]}/app:1`);
  const refused = await failureOf(room.registry.find(name, amd64, { retries: 0 }));
  expect(refused.code).toBe("network");
  expect(refused.hint).toContain("--tls-verify=false");
  expect(fake.log).toEqual([]);
  expect((await room.registry.find(name, amd64, { tlsVerify: false })).descriptor.digest).toBe(image.digest);
});

test("R11: insecure = true counts for the host it is written for, and --tls-verify=true beats it", async () => {
  await using fake = await startFakeRegistry();
  seed(fake, "app:1", sampleImage());
  await using room = openTestRoom(toLoopback);
  const port = fake.host.split(":")[1];
  mkdirSync(join(room.etc, "containers"));
  writeFileSync(
    join(room.etc, "containers/registries.conf"),
    `[[registry]]\nlocation = "registry.test:${port}"\ninsecure = true\n`,
  );
  expect((await room.registry.find(fullName(`registry.test:${port}/app:1`), amd64, {})).config.os).toBe(
    "linux",
  );
  for (const [host, tlsVerify] of [
    ["registry.test", true],
    ["other.test", undefined],
  ] as const) {
    const options = tlsVerify === undefined ? { retries: 0 } : { retries: 0, tlsVerify };
    const error = await failureOf(room.registry.find(fullName(`${host}:${port}/app:1`), amd64, options));
    expect(error.code).toBe("network");
  }
});

test("R11: a certificate that is not trusted never leads to plain HTTP, even on a port that speaks both", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cooper-r11-"));
  await using tls = await startFakeRegistry({ tls: makeCertificates(dir, dir) });
  await using plain = await startFakeRegistry();
  // The first byte of a TLS handshake is 0x16.
  const both = createServer((socket) => {
    socket
      .on("error", () => undefined)
      .once("data", (first: Buffer) => {
        const target = connect(Number((first[0] === 0x16 ? tls : plain).host.split(":")[1]), "127.0.0.1");
        target.on("error", () => undefined).write(first);
        socket.pipe(target).pipe(socket);
      });
  });
  both.listen(0, "127.0.0.1");
  await once(both, "listening");
  const { port } = both.address() as AddressInfo;
  try {
    seed(plain, "app:1", sampleImage());
    await using room = openTestRoom();
    const error = await failureOf(room.registry.find(fullName(`127.0.0.1:${port}/app:1`), amd64, {}));
    expect(error.message).toBe(
      `cannot reach https://127.0.0.1:${port}: its certificate is signed by an unknown authority`,
    );
    await using named = openTestRoom(toLoopback);
    const name = fullName(`other.test:${port}/app:1`);
    const other = await failureOf(named.registry.find(name, amd64, { certDir: dir }));
    expect(other.message).toContain("its certificate is for another host");
    expect([...tls.log, ...plain.log]).toEqual([]);
  } finally {
    both.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test("proxies: which URLs go through one", () => {
  const env = {
    https_proxy: "http://p:3128",
    HTTP_PROXY: "q:8080",
    NO_PROXY: "corp.example, .sub.example,10.0.0.0/8,exact.example:8443,[fd00::1]",
  };
  const via = (url: string) => proxyFor(new URL(url), env)?.host;
  expect(via("https://docker.io/v2/")).toBe("p:3128");
  expect(via("http://a.example/")).toBe("q:8080");
  expect(
    [
      "https://corp.example/",
      "https://a.corp.example/",
      "https://x.sub.example/",
      "https://10.1.2.3/",
      "https://exact.example:8443/",
      "https://localhost:5000/",
      "http://127.0.0.1:1/",
      "https://[fd00::1]/",
    ].map(via),
  ).toEqual(Array.from({ length: 8 }, () => undefined));
  expect(["https://notcorp.example/", "https://exact.example/", "https://11.1.2.3/"].map(via)).toEqual([
    "p:3128",
    "p:3128",
    "p:3128",
  ]);
});
