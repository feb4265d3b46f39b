import { expect, test } from "vitest";
import { reply, startFakeRegistry } from "../support/fake-registry.js";
import {
  amd64,
  failureOf,
  fullName,
  memoryBlobs,
  openTestRoom,
  sampleImage,
  seed,
} from "../registry/samples.js";

test("R01: a layer's urls are never fetched, and nobody there is shown credentials", async () => {
  await using elsewhere = await startFakeRegistry({
    script: (_request, response) => reply(response, 401, { "www-authenticate": 'Basic realm="x"' }),
  });
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  const image = sampleImage();
  const [layer] = image.manifest.layers;
  if (!layer) throw new Error("no layer");
  const foreign = {
    ...layer,
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    urls: [`${elsewhere.url}/l`],
  };
  const manifestBytes = Buffer.from(JSON.stringify({ ...image.manifest, layers: [foreign] }));
  seed(fake, "app:1", { ...image, manifestBytes });
  fake.blobs.delete(layer.digest);
  const found = await room.registry.find(fullName(`${fake.host}/app:1`), amd64, { creds: "user:canary" });
  const error = await failureOf(
    Promise.all(found.manifest.layers.map((l) => found.fetchLayer(l, memoryBlobs()))),
  );
  expect(error.code).toBe("not-found");
  expect(elsewhere.log).toEqual([]);
});
