import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { reply, startFakeRegistry } from "../support/fake-registry.js";
import { makeCertificates } from "../support/registry.js";
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
import type { SampleImage } from "../registry/samples.js";

const isBlob = (url = "") => url.includes("/blobs/sha256:");
const creds = "user:canary-password";

async function pull(
  registry: ReturnType<typeof openTestRoom>["registry"],
  name: string,
  image: SampleImage,
): Promise<boolean> {
  const found = await registry.find(fullName(name), amd64, { creds, tlsVerify: false, retries: 1 });
  const sink = memoryBlobs();
  for (const layer of found.manifest.layers) await found.fetchLayer(layer, sink);
  return image.manifest.layers.every(({ digest }) => sink.has(digest));
}

test("R04: a redirect to another port of the same host carries no credentials", async () => {
  await using storage = await startFakeRegistry();
  await using fake = await startFakeRegistry({
    script: bearer({
      next: (request, response) =>
        isBlob(request.url) &&
        reply(response, 307, { location: `${storage.url}${request.url}?X-Signature=abc` }),
    }),
  });
  await using room = openTestRoom();
  const image = sampleImage();
  seed(fake, "app:1", image);
  for (const [digest, bytes] of image.blobs.blobs) storage.blobs.set(digest, bytes);
  expect(await pull(room.registry, `${fake.host}/app:1`, image)).toBe(true);
  expect(storage.log).toHaveLength(2);
  expect(
    storage.log.every(({ headers }) => headers.authorization === undefined && headers.cookie === undefined),
  ).toBe(true);
});

test("R04: a 401 of the place redirected to is final, and a way back to the registry brings no credentials", async () => {
  let back = false;
  await using fake = await startFakeRegistry();
  await using storage = await startFakeRegistry({
    script: (request, response) =>
      back
        ? reply(response, 307, { location: `${fake.url}/returned` })
        : reply(response, 401, { "www-authenticate": `Bearer realm="http://${request.headers.host}/token"` }),
  });
  fake.script = bearer({
    next: (request, response) =>
      isBlob(request.url) && reply(response, 307, { location: `${storage.url}/b?sig=canary-signature` }),
  });
  await using room = openTestRoom();
  const image = sampleImage();
  seed(fake, "app:1", image);
  const error = await failureOf(pull(room.registry, `${fake.host}/app:1`, image));
  expect(error.code).toBe("auth");
  expect(error.message).not.toContain("canary");
  expect(storage.lines()).toEqual(["GET /b?sig=canary-signature"]);
  back = true;
  await failureOf(pull(room.registry, `${fake.host}/app:1`, image));
  const returned = fake.log.filter(({ url }) => url === "/returned");
  expect(returned.length).toBeGreaterThan(0);
  expect(returned[0]?.headers.authorization).toBeUndefined();
});

test("R04: at most five hops, no other schemes, no way from TLS to plain HTTP or to metadata services", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cooper-redirect-"));
  try {
    const image = sampleImage();
    await using plain = await startFakeRegistry();
    let location = "";
    await using fake = await startFakeRegistry({
      tls: makeCertificates(dir, dir),
      script: (request, response) =>
        isBlob(request.url) &&
        reply(
          response,
          302,
          location === "" ? {} : { location: location === "loop" ? `${request.url}` : location },
        ),
    });
    await using room = openTestRoom();
    seed(fake, "app:1", image);
    const refused = async (to: string) => {
      location = to;
      return (await failureOf(pull(room.registry, `${fake.host}/app:1`, image))).message;
    };
    expect(await refused("loop")).toContain("more than 5 redirects");
    expect(fake.lines().filter((line) => isBlob(line))).toHaveLength(6);
    expect(await refused(`${plain.url}/x`)).toContain(
      `refused to go to ${plain.url}/x: from TLS to plain HTTP`,
    );
    expect(await refused("https://169.254.169.254/latest")).toContain("which is a link-local address");
    expect(await refused("file:///etc/shadow")).toContain("no http or https URL");
    expect(await refused("https://u:p@127.0.0.1/")).toContain("holds a user name");
    expect(await refused("")).toContain("a redirect without usable Location");
    expect(plain.log).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
