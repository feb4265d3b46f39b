import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { reply, startFakeRegistry } from "../support/fake-registry.js";
import { makeCertificates } from "../support/registry.js";
import { bearer, failureOf, fullName, openTestRoom, sampleImage } from "../registry/samples.js";

describe("R05: where a registry may let us upload", () => {
  test("another origin gets the bytes, but no credentials", async () => {
    await using fake = await startFakeRegistry();
    await using storage = await startFakeRegistry();
    fake.script = bearer({
      next: async (request, response) => {
        if (request.method !== "POST") return false;
        const opened = await fetch(`${storage.url}${request.url}`, { method: "POST" });
        return reply(response, 202, {
          location: new URL(opened.headers.get("location") ?? "", storage.url).href,
        });
      },
    });
    // What was uploaded there is what the registry then has.
    fake.blobs.get = storage.blobs.get.bind(storage.blobs);
    await using room = openTestRoom();
    await room.registry.push(sampleImage(), fullName(`${fake.host}/app:1`), { creds: "user:canary" });
    const uploads = storage.log.filter(({ method }) => method === "PATCH" || method === "PUT");
    expect(uploads).toHaveLength(4);
    expect(uploads.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(fake.log.some(({ headers }) => headers.authorization?.startsWith("Bearer "))).toBe(true);
  });

  test("relative Locations and their queries are kept as they are", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const image = sampleImage([100, 200]);
    await room.registry.push(image, fullName(`${fake.host}/app:1`), {});
    const puts = fake.lines().filter((line) => line.startsWith("PUT") && line.includes("uploads"));
    expect(puts).toHaveLength(3);
    for (const line of puts) expect(line).toMatch(/uploads\/u\d\?state=a%2Fb&digest=sha256%3A[0-9a-f]{64}$/);
    expect(fake.manifests.get("app/1")?.bytes).toEqual(Buffer.from(image.manifestBytes));
  });

  test("metadata services, plain HTTP after TLS, odd schemes and no Location at all are refused", async () => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-location-"));
    try {
      let location: string | undefined;
      await using fake = await startFakeRegistry({
        tls: makeCertificates(dir, dir),
        script: (request, response) =>
          request.method === "POST" && reply(response, 202, location === undefined ? {} : { location }),
      });
      await using room = openTestRoom();
      const refused = async (to: string | undefined) => {
        location = to;
        return failureOf(
          room.registry.push(sampleImage(), fullName(`${fake.host}/app:1`), { tlsVerify: false, retries: 0 }),
        );
      };
      expect((await refused("//169.254.1.1/x")).message).toContain("which is a link-local address");
      expect((await refused("ftp://127.0.0.1/x")).message).toContain("no http or https URL");
      expect((await refused(undefined)).message).toContain("the registry sent no upload Location");
      const plain = await refused("http://127.0.0.1/v2/app/blobs/uploads/1?token=canary");
      expect(plain.message).toContain(
        "refused to go to http://127.0.0.1/v2/app/blobs/uploads/1: from TLS to plain HTTP",
      );
      expect(plain.message).not.toContain("canary");
      expect(plain.hint).toContain("X-Forwarded-Proto");
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
