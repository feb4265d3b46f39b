import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { mayRefer, reachOf } from "../../src/net/index.js";
import { reply, replyError, startFakeRegistry } from "../support/fake-registry.js";
import { makeCertificates } from "../support/registry.js";
import { amd64, bearer, failureOf, fullName, openTestRoom, sampleImage, seed } from "../registry/samples.js";

const creds = "user:canary-password";

describe("R02: where a registry may send us for a token", () => {
  test.each([
    ["http://169.254.169.254/latest", "a link-local address"],
    ["http://[fe80::1]/", "a link-local address"],
    ["http://[::ffff:169.254.169.254]/", "a link-local address"],
    ["http://2852039166/", "a link-local address"],
    ["file:///etc/passwd", "no http or https URL"],
    ["http://u:p@127.0.0.1/token", "holds a user name"],
    ["not a url", "no http or https URL"],
    ["", "there is no realm"],
  ])("realm %j is refused and named", async (realm, reason) => {
    await using fake = await startFakeRegistry({ script: bearer({ realm }) });
    await using room = openTestRoom();
    const error = await failureOf(
      room.registry.find(fullName(`${fake.host}/app:1`), amd64, { creds, retries: 0 }),
    );
    expect(error.code).toBe("registry");
    expect(error.message).toContain(reason);
    expect(error.message).not.toContain("canary");
  });

  test("an HTTPS registry cannot name a plain HTTP realm, whatever the certificate policy", async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-realm-"));
    try {
      await using plain = await startFakeRegistry();
      await using fake = await startFakeRegistry({
        tls: makeCertificates(dir, dir),
        script: bearer({ realm: `${plain.url}/token?x=y` }),
      });
      await using room = openTestRoom();
      for (const how of [{ tlsVerify: false }, { certDir: dir }]) {
        const error = await failureOf(
          room.registry.find(fullName(`${fake.host}/app:1`), amd64, { creds, ...how }),
        );
        expect(error.message).toBe(
          `refused: ${fake.host} asks for a token from "${plain.url}/token": plain HTTP, while the registry itself uses TLS`,
        );
      }
      expect(plain.log).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("several challenges: the first usable Bearer counts, a second realm does not replace the first", async () => {
    await using evil = await startFakeRegistry();
    await using fake = await startFakeRegistry({
      script: (request, response) => {
        if (request.url?.startsWith("/token")) return reply(response, 200, {}, { access_token: "t" });
        if (request.headers.authorization === "Bearer t") return false;
        response.writeHead(401, {
          "www-authenticate": [
            'Negotiate, Digest realm="d", nonce="n,Bearer realm=x"',
            `Bearer realm="${fake.url}/token",realm="${evil.url}/token", service="s"`,
            "Basic realm=b",
          ],
        });
        response.end();
        return true;
      },
    });
    await using room = openTestRoom();
    const image = sampleImage();
    seed(fake, "app:1", image);
    const found = await room.registry.find(fullName(`${fake.host}/app:1`), amd64, { creds });
    expect(found.descriptor.digest).toBe(image.digest);
    expect(evil.log).toEqual([]);
  });

  test("a header of a megabyte ends the request, not the process", async () => {
    await using fake = await startFakeRegistry({
      script: (_request, response) =>
        replyError(response, 401, "UNAUTHORIZED", "x", {
          "www-authenticate": `Bearer realm="${"a".repeat(1024 * 1024)}"`,
        }),
    });
    await using room = openTestRoom();
    const error = await failureOf(
      room.registry.find(fullName(`${fake.host}/app:1`), amd64, { tlsVerify: false }),
    );
    expect(error.code).toBe("network");
  });
});

describe("R03: token requests", () => {
  test("are not redirected", async () => {
    await using fake = await startFakeRegistry({
      script: (request, response, log) =>
        request.url?.startsWith("/token")
          ? reply(response, 302, { location: "/elsewhere" })
          : bearer()(request, response, log),
    });
    await using room = openTestRoom();
    const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, { creds }));
    expect(error.message).toContain("token servers may not redirect");
    expect(fake.lines().some((line) => line.includes("elsewhere"))).toBe(false);
  });

  test("go by the address that is dialled, not by the name", async () => {
    await using fake = await startFakeRegistry({
      script: bearer({ realm: "http://harmless.example/token" }),
    });
    await using room = openTestRoom({
      lookup: (_name, _options, callback) =>
        callback(null, [
          { address: "93.184.215.14", family: 4 },
          { address: "169.254.169.254", family: 4 },
        ]),
    });
    const error = await failureOf(
      room.registry.find(fullName(`${fake.host}/app:1`), amd64, { creds, retries: 0 }),
    );
    expect(error.message).toBe(
      "refused: the registry sends us for a token to harmless.example, which is a link-local address",
    );
  });
});

test("R02, R05: nobody sends us further inside than it is itself", () => {
  const addresses = [
    "8.8.8.8",
    "10.1.2.3",
    "127.9.9.9",
    "169.254.169.254",
    "::1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "0.0.0.0",
    "fd00:ec2::254",
    "224.0.0.1",
    "2606:4700::1",
  ];
  expect(addresses.map(reachOf)).toEqual([
    "public",
    "private",
    "loopback",
    "link-local",
    "loopback",
    "private",
    "private",
    "loopback",
    "loopback",
    "link-local",
    "link-local",
    "public",
  ]);
  const reaches = ["public", "private", "loopback", "link-local"] as const;
  const table = (purpose: "token" | "redirect") =>
    reaches.map((from) => reaches.filter((to) => mayRefer(from, to, purpose)).join(" "));
  expect(table("token")).toEqual(["public", "public private", "public private loopback", "public"]);
  expect(table("redirect")).toEqual([
    "public private",
    "public private",
    "public private loopback",
    "public private",
  ]);
});
