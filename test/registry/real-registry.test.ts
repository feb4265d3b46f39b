import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/image/index.js";
import { startRegistry } from "../support/registry.js";
import type { TestRegistry } from "../support/registry.js";
import { amd64, failureOf, fullName, memoryBlobs, openTestRoom, sampleImage } from "./samples.js";

const run = promisify(execFile);

describe("a plain docker-registry", () => {
  let server: TestRegistry;
  beforeAll(async () => {
    server = await startRegistry();
  });
  afterAll(() => server.stop());

  test.each(["oci", "docker"] as const)("skopeo reads the %s image that we pushed", async (format) => {
    await using room = openTestRoom();
    const image = sampleImage([100_000, 5, 3_000_000], format);
    const { registry, onEvent } = room;
    const pushed = await registry.push(image, fullName(`${server.host}/team/app:1`), { onEvent });
    expect(pushed.digest).toBe(image.digest);
    const { stdout } = await run("skopeo", [
      "inspect",
      "--tls-verify=false",
      "--raw",
      `docker://${server.host}/team/app:1`,
    ]);
    expect(stdout).toBe(image.manifestBytes.toString());
    const dir = mkdtempSync(join(tmpdir(), "cooper-skopeo-"));
    try {
      await run("skopeo", [
        "copy",
        "--src-tls-verify=false",
        `docker://${server.host}/team/app:1`,
        `dir:${dir}`,
      ]);
      for (const layer of image.manifest.layers) {
        expect(digestOf(readFileSync(join(dir, layer.digest.slice(7))))).toBe(layer.digest);
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("we pull byte for byte what skopeo pushed, by tag and by digest", async () => {
    await using room = openTestRoom();
    const image = sampleImage([70_000, 900_000]);
    await room.registry.push(image, fullName(`${server.host}/a:1`), {});
    await run("skopeo", [
      "copy",
      "--src-tls-verify=false",
      "--dest-tls-verify=false",
      "--format",
      "v2s2",
      `docker://${server.host}/a:1`,
      `docker://${server.host}/b/c:2`,
    ]);
    const { stdout } = await run("skopeo", [
      "inspect",
      "--tls-verify=false",
      "--raw",
      `docker://${server.host}/b/c:2`,
    ]);
    const found = await room.registry.find(fullName(`${server.host}/b/c:2`), amd64, {});
    expect(found.manifestBytes.toString()).toBe(stdout);
    expect(found.config.rootfs.diff_ids).toHaveLength(2);
    const sink = memoryBlobs();
    await Promise.all(found.manifest.layers.map((layer) => found.fetchLayer(layer, sink)));
    expect(found.manifest.layers.every(({ digest }) => sink.has(digest))).toBe(true);
    expect(found.manifest.layers.map(({ digest }) => digest)).toEqual(
      image.manifest.layers.map(({ digest }) => digest),
    );
    const pinned = await room.registry.find(
      fullName(`${server.host}/b/c@${found.descriptor.digest}`),
      amd64,
      {},
    );
    expect(pinned.descriptor).toEqual(found.descriptor);
  });

  test("an image of an index that another tool made is chosen by platform", async () => {
    await using room = openTestRoom();
    const image = sampleImage([2000]);
    await room.registry.push(image, fullName(`${server.host}/multi:one`), {});
    const { mediaType, digest } = { mediaType: image.manifest.mediaType, digest: image.digest };
    const size = image.manifestBytes.byteLength;
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [
        { mediaType, digest, size, platform: { os: "unknown", architecture: "unknown" } },
        { mediaType, digest, size, platform: { os: "linux", architecture: "amd64" } },
      ],
    };
    const put = await fetch(`${server.url}/v2/multi/manifests/all`, {
      method: "PUT",
      headers: { "content-type": index.mediaType },
      body: JSON.stringify(index),
    });
    expect(put.status).toBe(201);
    const found = await room.registry.find(fullName(`${server.host}/multi:all`), amd64, {});
    expect(found.descriptor.digest).toBe(digest);
    const other = await failureOf(
      room.registry.find(fullName(`${server.host}/multi:all`), { os: "linux", architecture: "s390x" }, {}),
    );
    expect(other.code).toBe("not-found");
    expect(other.message).toContain("linux/amd64");
  });

  test("a second push sends no blob, a push to another repository mounts them", async () => {
    await using room = openTestRoom();
    const image = sampleImage([40_000, 50_000]);
    const { registry, events, onEvent } = room;
    await registry.push(image, fullName(`${server.host}/once:1`), {});
    await registry.push(image, fullName(`${server.host}/once:2`), { onEvent });
    const skipped = events.filter((event) => event.type === "transfer" && event.skipped);
    expect(skipped).toHaveLength(3);
    events.length = 0;
    await registry.push({ ...image, mountFrom: () => "once" }, fullName(`${server.host}/mounted:1`), {
      onEvent,
    });
    expect(
      events.filter((event) => event.type === "transfer" && event.kind === "layer" && event.skipped),
    ).toHaveLength(2);
    expect(
      existsSync(
        join(
          server.dataDir,
          "docker/registry/v2/repositories/mounted/_layers/sha256",
          image.manifest.layers[0]?.digest.slice(7) ?? "",
        ),
      ),
    ).toBe(true);
  });

  test("a name that is not there is one clear line", async () => {
    await using room = openTestRoom();
    const error = await failureOf(room.registry.find(fullName(`${server.host}/nobody:1`), amd64, {}));
    expect(error.code).toBe("not-found");
    expect(error.message).toBe(
      `cannot pull ${server.host}/nobody:1: the registry answered 404 MANIFEST_UNKNOWN: manifest unknown (GET http://${server.host}/v2/nobody/manifests/1)`,
    );
  });

  test("--tls-verify=true never speaks plain HTTP, not even to loopback", async () => {
    await using room = openTestRoom();
    const error = await failureOf(
      room.registry.find(fullName(`${server.host}/a:1`), amd64, { tlsVerify: true, retries: 0 }),
    );
    expect(error.code).toBe("network");
    expect(error.message).toBe(`cannot reach https://${server.host}: it does not speak TLS`);
  });
});

describe("a docker-registry with TLS and passwords", () => {
  const user = "builder";
  const password = "s3cret/pass:word";
  let server: TestRegistry;
  beforeAll(async () => {
    server = await startRegistry({ tls: true, htpasswd: { user, password } });
  });
  afterAll(() => server.stop());

  test("an unknown authority is refused; --cert-dir and --tls-verify=false are ways in", async () => {
    await using room = openTestRoom();
    const { registry } = room;
    const image = sampleImage();
    const name = fullName(`${server.host}/secure:1`);
    const creds = `${user}:${password}`;
    const refused = await failureOf(registry.push(image, name, { creds }));
    expect(refused.code).toBe("network");
    expect(refused.message).toBe(
      `cannot reach https://${server.host}: its certificate is signed by an unknown authority`,
    );
    expect(refused.hint).toContain("certs.d");
    await registry.push(image, name, { creds, certDir: server.certDir });
    const found = await registry.find(name, amd64, { creds, tlsVerify: false });
    expect(found.descriptor.digest).toBe(image.digest);
    const dir = mkdtempSync(join(tmpdir(), "cooper-skopeo-"));
    try {
      await run("skopeo", [
        "copy",
        "--src-cert-dir",
        server.certDir,
        "--src-creds",
        creds,
        `docker://${server.host}/secure:1`,
        `dir:${dir}`,
      ]);
      expect(readFileSync(join(dir, "manifest.json"), "utf8")).toBe(image.manifestBytes.toString());
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test.each(["etc", "home"] as const)("certs.d under %s is enough", async (place) => {
    await using room = openTestRoom();
    const dir =
      place === "etc"
        ? join(room.etc, "docker/certs.d", server.host)
        : join(room.home, ".config/containers/certs.d", server.host);
    mkdirSync(dir, { recursive: true });
    cpSync(server.caFile, join(dir, "ca.crt"));
    const pushed = await room.registry.push(sampleImage(), fullName(`${server.host}/certs:1`), {
      creds: `${user}:${password}`,
    });
    expect(pushed.size).toBeGreaterThan(0);
  });

  test.each(["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"])("%s is enough", async (variable) => {
    await using room = openTestRoom({ env: { [variable]: server.caFile } });
    const pushed = await room.registry.push(sampleImage(), fullName(`${server.host}/variable:1`), {
      creds: `${user}:${password}`,
    });
    expect(pushed.size).toBeGreaterThan(0);
  });

  test("login, push, pull, whoIs and logout; podman's format, mode 0600, other content kept", async () => {
    await using room = openTestRoom();
    const authFile = join(room.home, "auth.json");
    writeFileSync(
      authFile,
      JSON.stringify({ auths: { "other.example": { auth: "eDp5" } }, HttpHeaders: { a: "b" } }),
      { mode: 0o644 },
    );
    const options = { authFile, certDir: server.certDir };
    const wrong = await failureOf(
      room.registry.login(server.host, { username: user, password: "wrong-password" }, options),
    );
    expect(wrong.code).toBe("auth");
    expect(JSON.parse(readFileSync(authFile, "utf8"))).not.toHaveProperty(["auths", server.host]);
    await room.registry.login(server.host, { username: user, password }, options);
    expect(statSync(authFile).mode & 0o777).toBe(0o600);
    const auth = Buffer.from(`${user}:${password}`).toString("base64");
    expect(JSON.parse(readFileSync(authFile, "utf8"))).toEqual({
      auths: { "other.example": { auth: "eDp5" }, [server.host]: { auth } },
      HttpHeaders: { a: "b" },
    });
    expect(room.registry.whoIs(server.host, options)).toBe(user);
    const image = sampleImage();
    await room.registry.push(image, fullName(`${server.host}/login:1`), options);
    const { stdout } = await run("skopeo", [
      "inspect",
      "--raw",
      "--authfile",
      authFile,
      "--cert-dir",
      server.certDir,
      `docker://${server.host}/login:1`,
    ]);
    expect(stdout).toBe(image.manifestBytes.toString());
    room.registry.logout(server.host, options);
    expect(room.registry.whoIs(server.host, options)).toBeUndefined();
    const again = await failureOf(Promise.resolve().then(() => room.registry.logout(server.host, options)));
    expect(again.code).toBe("not-found");
    const anonymous = await failureOf(
      room.registry.push(sampleImage(), fullName(`${server.host}/login:2`), options),
    );
    expect(anonymous.code).toBe("auth");
    expect(anonymous.hint).toContain("cooper login");
  });

  test("what skopeo's login wrote opens the registry for us", async () => {
    await using room = openTestRoom();
    const authFile = join(room.home, "skopeo.json");
    await run("skopeo", [
      "login",
      "--authfile",
      authFile,
      "--cert-dir",
      server.certDir,
      "-u",
      user,
      "-p",
      password,
      server.host,
    ]);
    const pushed = await room.registry.push(sampleImage(), fullName(`${server.host}/skopeo:1`), {
      authFile,
      certDir: server.certDir,
    });
    expect(pushed.mediaType).toContain("manifest");
  });
});
