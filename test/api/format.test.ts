import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/image/index.js";
import type { Descriptor, SaveFormat } from "../../src/index.js";
import { openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";
import { openPeers } from "../support/peers.js";
import type { Peers } from "../support/peers.js";
import { startRegistry } from "../support/registry.js";
import type { TestRegistry } from "../support/registry.js";

const insecure = { tlsVerify: false } as const;

const FILE = `FROM scratch
COPY file /file
SHELL ["/bin/ash", "-e", "-c"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=2 CMD test -e /file
STOPSIGNAL SIGUSR1
ONBUILD RUN echo from the base
CMD echo started
`;

const TYPES = {
  docker: [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
  ],
  oci: [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
  ],
} as const;

interface RawManifest {
  readonly mediaType: string;
  readonly config: { readonly mediaType: string; readonly digest: string };
  readonly layers: readonly { readonly mediaType: string }[];
}

const typesOf = ({ mediaType, config, layers }: RawManifest): readonly string[] => [
  mediaType,
  config.mediaType,
  ...new Set(layers.map((layer) => layer.mediaType)),
];

async function withFile(): Promise<Lab> {
  const lab = await openLab();
  lab.write({ file: "text" });
  return lab;
}

/** The manifest in an OCI layout, after tar has unpacked it where it is an archive. */
async function savedManifest(lab: Lab, name: string, format: SaveFormat): Promise<RawManifest> {
  const dest = join(lab.dir, `${name}-${format}`);
  await lab.cooper.save([name], { format, dest });
  const dir = format === "oci-dir" ? dest : `${dest}.d`;
  if (format !== "oci-dir") {
    mkdirSync(dir);
    execFileSync("tar", ["-xf", dest, "-C", dir]);
  }
  const read = (path: string): unknown => JSON.parse(readFileSync(join(dir, path), "utf8"));
  const index = read("index.json") as { manifests: [{ mediaType: string; digest: string }] };
  const [{ mediaType, digest }] = index.manifests;
  const manifest = read(`blobs/sha256/${digest.slice(7)}`) as RawManifest;
  expect(mediaType).toBe(manifest.mediaType);
  return manifest;
}

/** Writes an OCI layout whose only layer is a bare tar. */
async function plainLayout(lab: Lab, name: string, dir: string): Promise<void> {
  const archive = `${dir}.tar`;
  await lab.cooper.save([name], { format: "docker-archive", dest: archive });
  const member = (path: string): Buffer => execFileSync("tar", ["-xOf", archive, path]);
  const [image] = JSON.parse(member("manifest.json").toString()) as [{ Config: string; Layers: [string] }];
  mkdirSync(join(dir, "blobs/sha256"), { recursive: true });
  const blob = (mediaType: string, bytes: Buffer): Descriptor => {
    const digest = digestOf(bytes);
    writeFileSync(join(dir, "blobs/sha256", digest.slice(7)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const config = blob(TYPES.oci[1], member(image.Config));
  const layer = blob("application/vnd.oci.image.layer.v1.tar", member(image.Layers[0]));
  const manifest = { schemaVersion: 2, mediaType: TYPES.oci[0], config, layers: [layer] };
  const manifests = [blob(TYPES.oci[0], Buffer.from(JSON.stringify(manifest)))];
  writeFileSync(join(dir, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
}

describe("the format of an image", () => {
  test.each(["oci", "docker"] as const)("%s is what every way out writes", async (format) => {
    await using lab = await withFile();
    const dest = join(lab.dir, "output.tar");
    const { result } = await lab.build(FILE, { format, tags: ["x"], outputs: [{ type: "oci", dest }] });
    expect((await lab.cooper.inspect("x")).format).toBe(format);
    for (const kind of ["oci-archive", "oci-dir"] as const) {
      const manifest = await savedManifest(lab, "x", kind);
      expect(typesOf(manifest)).toEqual(TYPES[format]);
      expect(manifest.config.digest).toBe(result.imageId);
    }
    const members = execFileSync("tar", ["-xOf", dest, "index.json"]).toString();
    expect(members).toContain(TYPES[format][0]);
    expect(result.config.config).toMatchObject({
      Shell: ["/bin/ash", "-e", "-c"],
      StopSignal: "SIGUSR1",
      OnBuild: ["RUN echo from the base"],
      Healthcheck: {
        Test: ["CMD-SHELL", "test -e /file"],
        Interval: 5e9,
        Timeout: 3e9,
        StartPeriod: 6e10,
        Retries: 2,
      },
    });
  });

  test("is no input of a step: the other one is built from the cache, and every name keeps its own", async () => {
    await using lab = await withFile();
    const first = await lab.build(FILE, { format: "docker", tags: ["d"] });
    const second = await lab.build(FILE, { tags: ["o"] });
    const third = await lab.build(FILE, { format: "docker", tags: ["again"] });
    expect(second.result.steps).toEqual({ cached: 6, built: 0 });
    expect(new Set([first, second, third].map(({ result }) => result.imageId)).size).toBe(1);
    await lab.cooper.tag("o", ["copy"]);
    for (const [name, format] of [
      ["d", "docker"],
      ["o", "oci"],
      ["again", "docker"],
      ["copy", "oci"],
    ] as const) {
      expect([name, (await lab.cooper.inspect(name)).format]).toEqual([name, format]);
      expect(typesOf(await savedManifest(lab, name, "oci-dir"))).toEqual(TYPES[format]);
    }
    await lab.build(FILE, { tags: ["again"] });
    expect((await lab.cooper.inspect("again")).format).toBe("oci");
  });

  test("goes with the image through an archive into another store", async () => {
    await using lab = await withFile();
    await using other = await openLab();
    await lab.build(FILE, { format: "docker", tags: ["x"] });
    await lab.build(FILE, { format: "oci", tags: ["y"] });
    for (const [name, kind, format] of [
      ["x", "oci-archive", "docker"],
      ["y", "oci-archive", "oci"],
      ["x", "docker-archive", "docker"],
    ] as const) {
      const dest = join(lab.dir, `${name}.${kind}`);
      await lab.cooper.save([name], { format: kind, dest });
      const [loaded = ""] = await other.cooper.load(dest);
      expect([kind, (await other.cooper.inspect(loaded)).format]).toEqual([kind, format]);
    }
  });

  test("a base that no instruction changes stays as it is, unless a format is given", async () => {
    await using lab = await withFile();
    await lab.build("FROM scratch\nCOPY file /\n", { format: "docker", tags: ["plain"] });
    await lab.build("FROM localhost/plain\n", { tags: ["same"] });
    await lab.build("FROM localhost/plain\n", { tags: ["other"], format: "oci" });
    const formats = await Promise.all(
      ["same", "other"].map(async (name) => (await lab.cooper.inspect(name)).format),
    );
    expect(formats).toEqual(["docker", "oci"]);
  });
});

describeWith(["root", "docker-registry", "skopeo", "podman", "buildah"], "other tools", () => {
  let registry: TestRegistry;
  let peers: Peers;
  beforeAll(async () => {
    registry = await startRegistry();
    peers = openPeers();
  });
  afterAll(async () => {
    await peers?.close();
    await registry?.stop();
  });

  const raw = async (name: string): Promise<RawManifest> => {
    const source = `docker://${registry.host}/${name}`;
    const { stdout } = await peers.skopeo(["inspect", "--raw", "--tls-verify=false", source]);
    return JSON.parse(stdout) as RawManifest;
  };

  test.each(["oci", "docker"] as const)("read the %s media types from a registry", async (format) => {
    await using lab = await withFile();
    const name = `${registry.host}/out/${format}:1`;
    await lab.build(FILE, { format, tags: [name] });
    const pushed = await lab.cooper.push(name, undefined, insecure);
    const manifest = await raw(`out/${format}:1`);
    expect(typesOf(manifest)).toEqual(TYPES[format]);
    expect(pushed.mediaType).toBe(TYPES[format][0]);

    const opposite = format === "oci" ? "docker" : "oci";
    await lab.cooper.push(name, `${registry.host}/out/${format}:converted`, {
      ...insecure,
      format: opposite,
    });
    expect(typesOf(await raw(`out/${format}:converted`))).toEqual(TYPES[opposite]);
  });

  test("a pulled image is rebuilt in the other format, layers and all, and pushed again as it was", async () => {
    await using lab = await withFile();
    for (const format of ["oci", "docker"] as const) {
      const name = `${registry.host}/turn/${format}:1`;
      await lab.build("FROM scratch\nCOPY file /file\n", { format, tags: [name] });
      const { digest } = await lab.cooper.push(name, undefined, insecure);
      await using other = await openLab();
      const opposite = format === "oci" ? "docker" : "oci";
      const turned = `${registry.host}/turn/${format}:turned`;
      await other.build(`FROM ${name}\nENV A=1\n`, { ...insecure, format: opposite, tags: [turned] });
      await other.cooper.push(turned, undefined, insecure);
      expect(typesOf(await raw(`turn/${format}:turned`))).toEqual(TYPES[opposite]);
      const again = await other.cooper.push(name, `${registry.host}/turn/${format}:again`, insecure);
      expect(again.digest).toBe(digest);
    }
  });

  test("layers that are not compressed, which few read in docker's format, are compressed for it", async () => {
    await using lab = await withFile();
    await lab.build("FROM scratch\nCOPY file /file\n", { tags: ["x"] });
    const layout = join(lab.dir, "layout");
    await plainLayout(lab, "x", layout);
    await using other = await openLab();
    const [loaded = ""] = await other.cooper.load(layout);
    const as = (format: "oci" | "docker"): string => `${registry.host}/plain/image:${format}`;
    await other.cooper.push(loaded, as("oci"), insecure);
    expect(typesOf(await raw("plain/image:oci")).at(-1)).toBe("application/vnd.oci.image.layer.v1.tar");
    await other.cooper.push(loaded, as("docker"), { ...insecure, format: "docker" });
    expect(typesOf(await raw("plain/image:docker"))).toEqual(TYPES.docker);
  });

  test("podman and buildah see HEALTHCHECK, SHELL, ONBUILD and STOPSIGNAL of a docker image", async () => {
    await using lab = await withFile();
    const name = `${registry.host}/seen/docker:1`;
    await lab.build(FILE, { format: "docker", tags: [name] });
    await lab.cooper.push(name, undefined, insecure);
    await peers.podman(["pull", "--quiet", "--tls-verify=false", name]);
    const [image] = JSON.parse((await peers.podman(["inspect", name])).stdout) as [
      { ManifestType: string; Healthcheck: unknown; Config: Record<string, unknown> },
    ];
    expect(image.ManifestType).toBe(TYPES.docker[0]);
    expect(image.Healthcheck).toEqual({
      Test: ["CMD-SHELL", "test -e /file"],
      Interval: 5e9,
      Timeout: 3e9,
      StartPeriod: 6e10,
      Retries: 2,
    });
    expect(image.Config["StopSignal"]).toBe("SIGUSR1");
    const { Docker } = JSON.parse((await peers.buildah(["inspect", "--type", "image", name])).stdout) as {
      Docker: { config: Record<string, unknown> };
    };
    expect(Docker.config).toMatchObject({
      Shell: ["/bin/ash", "-e", "-c"],
      OnBuild: ["RUN echo from the base"],
      StopSignal: "SIGUSR1",
    });
    expect(Docker.config["Healthcheck"]).toBeDefined();
  });

  test.each(["docker-archive", "oci-archive", "oci-dir"] as const)(
    "load a docker image that was saved as %s",
    async (format) => {
      await using lab = await withFile();
      const name = `localhost/saved:${format}`;
      await lab.build(FILE, { format: "docker", tags: [name] });
      const dest = join(lab.dir, "saved");
      await lab.cooper.save([name], { format, dest });
      // podman takes a directory's path for the image's name, and capitals are none.
      if (format === "oci-dir") {
        const { stdout } = await peers.skopeo(["inspect", "--config", "--raw", `oci:${dest}`]);
        expect(stdout).toContain('"Healthcheck":{"Test":["CMD-SHELL","test -e /file"]');
        return;
      }
      await peers.podman(["load", "--quiet", "--input", dest]);
      const [image] = JSON.parse((await peers.podman(["inspect", name])).stdout) as [
        { Healthcheck?: unknown },
      ];
      expect(image.Healthcheck).toMatchObject({ Test: ["CMD-SHELL", "test -e /file"] });
    },
  );
});
