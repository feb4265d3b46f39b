import { describe, expect, test } from "vitest";
import { mediaTypes } from "../../src/image/index.js";
import { reply, sha256, startFakeRegistry } from "../support/fake-registry.js";
import type { FakeRegistry } from "../support/fake-registry.js";
import {
  amd64,
  failureOf,
  fullName,
  memoryBlobs,
  openTestRoom,
  sampleImage,
  seed,
} from "../registry/samples.js";

const put = (fake: FakeRegistry, document: unknown, type: string = mediaTypes.ociManifest) => {
  const bytes = Buffer.from(typeof document === "string" ? document : JSON.stringify(document));
  fake.manifests.set("app/1", { type, bytes }).set(`app/${sha256(bytes)}`, { type, bytes });
  return sha256(bytes);
};

/** What pulling `app:1` fails with when the registry holds this document; no blob may have been asked for. */
async function failureWith(change: (image: ReturnType<typeof sampleImage>) => unknown, type?: string) {
  await using fake = await startFakeRegistry();
  await using room = openTestRoom();
  const image = sampleImage([100]);
  seed(fake, "app:1", image);
  put(fake, change(image), type);
  const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}));
  const [layer] = image.manifest.layers;
  expect(fake.lines().some((line) => line.includes(layer?.digest ?? "?"))).toBe(false);
  return error;
}

describe("R06: digests that are none never become part of a URL", () => {
  test.each([
    "sha256:../../../../etc/x",
    "sha256:abc?x=y",
    `sha256:${"A".repeat(64)}`,
    `md5:${"a".repeat(32)}`,
    `sha256:${"a".repeat(63)}`,
    5,
    null,
  ])("%j", async (digest) => {
    for (const change of ["config", "layers"] as const) {
      const error = await failureWith(({ manifest }) =>
        change === "config"
          ? { ...manifest, config: { ...manifest.config, digest } }
          : { ...manifest, layers: [{ ...manifest.layers[0], digest }] },
      );
      expect(error.code).toBe("corrupt");
      expect(error.message).toContain("not a sha256 digest");
    }
  });
});

describe("R07: documents that can be read in two ways", () => {
  test("layers and manifests in one", async () => {
    const error = await failureWith(({ manifest }) => ({ ...manifest, manifests: [] }));
    expect(error.message).toContain("ambiguous manifest");
  });
  test("a mediaType that is not the Content-Type", async () => {
    const error = await failureWith(({ manifest }) => manifest, mediaTypes.dockerManifest);
    expect(error.message).toContain("but was sent as");
  });
  test("an index entry whose answer is sent as something else", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const { manifest, manifestBytes } = sampleImage();
    const { mediaType: _none, ...bare } = manifest;
    const child = Buffer.from(JSON.stringify(bare));
    fake.manifests.set(`app/${sha256(child)}`, { type: mediaTypes.dockerManifest, bytes: child });
    const entry = {
      mediaType: mediaTypes.ociManifest,
      digest: sha256(child),
      size: child.byteLength,
      platform: amd64,
    };
    put(fake, { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }, mediaTypes.ociIndex);
    const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}));
    expect(error.message).toContain(`its index says ${mediaTypes.ociManifest}`);
    expect(manifestBytes.byteLength).toBeGreaterThan(0);
  });
  test("schema 1, helm charts and the like", async () => {
    const old = await failureWith(
      () => ({ schemaVersion: 1, name: "app", fsLayers: [] }),
      "application/vnd.docker.distribution.manifest.v1+prettyjws",
    );
    expect(old.code).toBe("unsupported");
    const chart = await failureWith(({ manifest }) => ({
      ...manifest,
      config: { ...manifest.config, mediaType: "application/vnd.cncf.helm.config.v1+json" },
    }));
    expect(chart.message).toContain("not a container image");
  });
});

describe("R08: the bytes decide", () => {
  test("a pinned digest whose manifest has other bytes", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const image = sampleImage();
    seed(fake, "app:1", image);
    const asked = `sha256:${"1".repeat(64)}`;
    const own = fake.manifests.get("app/1");
    if (own) fake.manifests.set(`app/${asked}`, own);
    const error = await failureOf(room.registry.find(fullName(`${fake.host}/app@${asked}`), amd64, {}));
    expect(error.code).toBe("corrupt");
    expect(error.message).toContain(image.digest);
  });

  test("a Docker-Content-Digest that lies changes nothing", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const image = sampleImage();
    seed(fake, "app:1", image);
    fake.script = (request, response) =>
      request.url?.endsWith("/manifests/1") === true &&
      reply(
        response,
        200,
        { "content-type": image.manifest.mediaType, "docker-content-digest": `sha256:${"2".repeat(64)}` },
        Buffer.from(image.manifestBytes),
      );
    const found = await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {});
    expect(found.descriptor.digest).toBe(image.digest);
  });

  test.each([-1, 1e20, 1.5, "5", null])("a size of %j is no size", async (size) => {
    const error = await failureWith(({ manifest }) => ({
      ...manifest,
      layers: [{ ...manifest.layers[0], size }],
    }));
    expect(error.message).toContain("not a byte count");
  });

  test.each([1, -1])(
    "a layer or config whose size is off by %j is refused, and nothing stored",
    async (off) => {
      await using fake = await startFakeRegistry();
      await using room = openTestRoom();
      const image = sampleImage();
      seed(fake, "app:1", image);
      const { manifest } = image;
      put(fake, {
        ...manifest,
        layers: manifest.layers.map((layer) => ({ ...layer, size: layer.size + off })),
      });
      const found = await room.registry.find(fullName(`${fake.host}/app:1`), amd64, {});
      const sink = memoryBlobs();
      const [layer] = found.manifest.layers;
      if (!layer) throw new Error("no layer");
      expect((await failureOf(found.fetchLayer(layer, sink))).code).toBe("corrupt");
      expect(sink.blobs.size).toBe(0);
      put(fake, { ...manifest, config: { ...manifest.config, size: manifest.config.size + off } });
      expect((await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}))).code).toBe(
        "corrupt",
      );
    },
  );
});

describe("R09: shapes that make no image", () => {
  test("null entries, a missing config, too many layers, layers that the config does not have", async () => {
    const [nulls, missing, many, fewer] = await Promise.all([
      failureWith(({ manifest }) => ({ ...manifest, layers: [null] })),
      failureWith(({ manifest: { config: _none, ...rest } }) => rest),
      failureWith(({ manifest }) => ({
        ...manifest,
        layers: Array.from({ length: 2000 }, () => manifest.layers[0]),
      })),
      failureWith(({ manifest }) => ({ ...manifest, layers: [] })),
    ]);
    for (const error of [nulls, missing, many, fewer]) expect(error.code).toBe("corrupt");
    expect(many.message).toContain("more than 500 layers");
    expect(fewer.message).toContain("0 layers, but its config 1 diff_ids");
  });

  test("indexes nested without end", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    let child = { digest: `sha256:${"3".repeat(64)}`, size: 10 };
    for (let depth = 0; depth < 50; depth += 1) {
      const entry = { mediaType: mediaTypes.ociIndex, ...child, platform: amd64 };
      const bytes = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }),
      );
      child = { digest: sha256(bytes), size: bytes.byteLength };
      fake.manifests
        .set(`app/${child.digest}`, { type: mediaTypes.ociIndex, bytes })
        .set("app/1", { type: mediaTypes.ociIndex, bytes });
    }
    const error = await failureOf(room.registry.find(fullName(`${fake.host}/app:1`), amd64, {}));
    expect(error.message).toContain("nested more than 3 deep");
    expect(fake.lines().filter((line) => line.includes("manifests"))).toHaveLength(4);
  });
});
