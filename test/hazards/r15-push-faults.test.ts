import { describe, expect, test } from "vitest";
import { CooperError } from "../../src/errors.js";
import { mediaTypes } from "../../src/image/index.js";
import { reply, replyError, startFakeRegistry } from "../support/fake-registry.js";
import type { Script } from "../support/fake-registry.js";
import { bearer, failureOf, fullName, openTestRoom, sampleImage } from "../registry/samples.js";

/** Pushes one layer and a config through a script. */
async function pushThrough(script: Script, { retries = 3, timings = {}, sizes = [200_000] } = {}) {
  await using fake = await startFakeRegistry({ script });
  await using room = openTestRoom({ timings });
  const image = sampleImage(sizes);
  const outcome = await room.registry
    .push(image, fullName(`${fake.host}/app:1`), { retries, onEvent: room.onEvent })
    .then(
      () => undefined,
      (error: unknown) => error as CooperError,
    );
  const stored = fake.manifests.get("app/1")?.bytes.equals(Buffer.from(image.manifestBytes)) === true;
  return { outcome, stored, lines: fake.lines(), events: room.events, image };
}

/** Acts on the nth request that fits, once. */
function nth(fits: (method: string, url: string) => boolean, n: number, act: Script): Script {
  let seen = 0;
  return (request, response, log) =>
    fits(request.method ?? "", request.url ?? "") && ++seen === n && act(request, response, log);
}

const isUpload = (url: string) => url.includes("/uploads/u");

describe("R15, N6: a token that runs out during a push", () => {
  test.each(Array.from({ length: 14 }, (_, index) => index + 1))("at request %i", async (n) => {
    let requests = 0;
    const script = bearer({
      token: (count) => ({ token: `t${count}`, expires_in: 300 }),
      accepts: () => ++requests !== n,
    });
    const { outcome, stored } = await pushThrough(script);
    expect(outcome).toBeUndefined();
    expect(stored).toBe(true);
  });

  test("a 401 before the body was read restarts that blob; for ever ends in an auth error", async () => {
    let refusals = 1;
    const script = bearer({ accepts: (_token, request) => !(request.method === "PATCH" && refusals-- > 0) });
    const once = await pushThrough(script, { sizes: [3_000_000] });
    expect(once.stored).toBe(true);
    const posts = once.lines.filter((line) => line.startsWith("POST"));
    expect(posts).toHaveLength(3);
    refusals = 1000;
    const never = await pushThrough(script, { retries: 1 });
    expect(never.outcome?.code).toBe("auth");
    expect(never.stored).toBe(false);
  });
});

describe("R15, N7: uploads that the registry loses", () => {
  test.each([404, 416])("%i on PATCH or PUT starts the blob anew", async (status) => {
    for (const method of ["PATCH", "PUT"]) {
      const script = nth(
        (m, url) => m === method && isUpload(url),
        1,
        (request, response) => {
          request.resume();
          return replyError(response, status, "BLOB_UPLOAD_UNKNOWN", "gone");
        },
      );
      const { outcome, stored, lines } = await pushThrough(script);
      expect(outcome).toBeUndefined();
      expect(stored).toBe(true);
      expect(lines.filter((line) => line.startsWith("POST"))).toHaveLength(3);
    }
  });

  test("but not for ever", async () => {
    const { outcome, lines } = await pushThrough((request, response) => {
      if (request.method !== "PUT" || !isUpload(request.url ?? "")) return false;
      request.resume();
      return replyError(response, 404, "BLOB_UPLOAD_UNKNOWN", "gone");
    });
    expect(outcome?.message).toContain("404 BLOB_UPLOAD_UNKNOWN: gone");
    expect(lines.filter((line) => line.startsWith("POST"))).toHaveLength(3);
  });

  test("a connection that breaks in the middle of a PATCH", async () => {
    const script = nth(
      (method) => method === "PATCH",
      1,
      (request) => {
        request.once("data", () => request.socket.resetAndDestroy());
        return true;
      },
    );
    const { outcome, stored, events } = await pushThrough(script, { sizes: [8_000_000] });
    expect(outcome).toBeUndefined();
    expect(stored).toBe(true);
    expect(events.some((event) => event.type === "notice")).toBe(true);
  });

  test("a server that stops taking bytes", async () => {
    const script = nth(
      (method) => method === "PATCH",
      1,
      () => true,
    );
    const { outcome, stored } = await pushThrough(script, { sizes: [40_000_000], timings: { stallMs: 300 } });
    expect(outcome).toBeUndefined();
    expect(stored).toBe(true);
  });
});

describe("R15: what a registry claims", () => {
  test("an upload stored under another digest", async () => {
    const { outcome, stored } = await pushThrough(async (request, response) => {
      if (request.method !== "PUT" || !isUpload(request.url ?? "")) return false;
      return reply(response, 201, { "docker-content-digest": `sha256:${"4".repeat(64)}` });
    });
    expect(outcome?.code).toBe("corrupt");
    expect(outcome?.message).toContain(`the registry stored it as sha256:${"4".repeat(64)}`);
    expect(stored).toBe(false);
  });

  test("a blob that was confirmed but is not there: no manifest is sent", async () => {
    const { outcome, stored, lines } = await pushThrough(
      (request, response) => request.method === "PUT" && isUpload(request.url ?? "") && reply(response, 201),
      { retries: 1 },
    );
    expect(outcome?.message).toContain("the registry accepted it, but does not have it");
    expect(stored).toBe(false);
    expect(lines.some((line) => line.includes("/manifests/"))).toBe(false);
  });

  test("a manifest stored under another digest", async () => {
    const { outcome } = await pushThrough(
      (request, response) =>
        request.method === "PUT" &&
        request.url?.includes("manifests") === true &&
        reply(response, 201, { "docker-content-digest": `sha256:${"5".repeat(64)}` }),
    );
    expect(outcome?.message).toContain("cannot push manifest");
    expect(outcome?.code).toBe("corrupt");
  });

  test("N8: after a manifest that failed, a second push uploads nothing", async () => {
    let refuse = true;
    await using fake = await startFakeRegistry({
      script: (request, response) =>
        refuse &&
        request.url?.includes("manifests") === true &&
        replyError(response, 400, "MANIFEST_INVALID", "Circuit Breaker Threshold Reached"),
    });
    await using room = openTestRoom();
    const image = sampleImage([5000, 6000]);
    const push = () => room.registry.push(image, fullName(`${fake.host}/app:1`), {});
    const error = await failureOf(push());
    expect(error.hint).toContain("Artifactory");
    refuse = false;
    const before = fake.log.length;
    await push();
    expect(
      fake
        .lines()
        .slice(before)
        .every((line) => /^(HEAD|PUT \/v2\/app\/manifests)/.test(line)),
    ).toBe(true);
  });
});

describe("what ends a push", () => {
  test("a refusal is one line with the registry's own words and a hint", async () => {
    const cases = [
      [403, "DENIED", "delete permission", "denied", "lacks the right to delete"],
      [400, "MANIFEST_INVALID", "manifest invalid", "registry", "lacks the right to delete"],
      [413, "", "", "registry", "client_max_body_size"],
      [
        404,
        "NAME_UNKNOWN",
        "repository name not known to registry",
        "not-found",
        "must be made in the registry first",
      ],
      [400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", "registry", "push again"],
    ] as const;
    for (const [status, code, message, errorCode, hint] of cases) {
      const { outcome } = await pushThrough((request, response) => {
        if (request.method !== "PUT" || !request.url?.includes("manifests")) return false;
        request.resume();
        return code === ""
          ? reply(response, status, {}, "<html>too large</html>")
          : replyError(response, status, code, message);
      });
      expect(outcome?.code).toBe(errorCode);
      expect(outcome?.message).toContain(
        code === "" ? `answered ${status} (PUT` : `answered ${status} ${code}: ${message} (PUT`,
      );
      expect(outcome?.message).not.toContain("<html>");
      // Without credentials a 403 is first of all a missing login.
      expect(outcome?.hint).toContain(status === 403 ? "cooper login" : hint);
    }
  });

  test("a source whose bytes are gone or wrong is the source's error, told once", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const image = sampleImage([100_000]);
    const gone = new CooperError("corrupt", "blob has other bytes");
    const blobs = {
      ...image.blobs,
      read: (blob: Parameters<typeof image.blobs.read>[0]) =>
        image.blobs.read(blob).map(() => Promise.reject(gone)),
    };
    const error = await failureOf(
      room.registry.push({ ...image, blobs }, fullName(`${fake.host}/app:1`), {}),
    );
    expect(error.code).toBe("corrupt");
    expect(fake.lines().filter((line) => line.startsWith("PATCH")).length).toBeLessThanOrEqual(1);
    expect(fake.manifests.size).toBe(0);
  });

  test("mixed media types, and a digest that is not the image's, are refused before anything is sent", async () => {
    await using fake = await startFakeRegistry();
    await using room = openTestRoom();
    const { manifest, ...image } = sampleImage();
    const mixed = {
      ...manifest,
      layers: manifest.layers.map((layer) => ({ ...layer, mediaType: mediaTypes.dockerLayerGzip })),
    };
    const name = `${fake.host}/app`;
    expect(
      (await failureOf(room.registry.push({ ...image, manifest: mixed }, fullName(`${name}:1`), {}))).code,
    ).toBe("unsupported");
    const digest = `sha256:${"6".repeat(64)}`;
    expect(
      (await failureOf(room.registry.push({ ...image, manifest }, fullName(`${name}@${digest}`), {}))).code,
    ).toBe("usage");
    expect(fake.lines().filter((line) => line !== "GET /v2/")).toEqual([]);
  });

  test("N9: an abort in the middle of an upload", async () => {
    const abort = new AbortController();
    await using fake = await startFakeRegistry({
      script: (request) => {
        if (request.method !== "PATCH") return false;
        request.once("data", () => abort.abort());
        return true;
      },
    });
    await using room = openTestRoom();
    const error = await failureOf(
      room.registry.push(sampleImage([20_000_000]), fullName(`${fake.host}/app:1`), { signal: abort.signal }),
    );
    expect(error.code).toBe("aborted");
  });
});
