import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatPlatform, hostPlatform, mediaTypes, parsePlatform } from "../../src/image/index.js";
import type { Platform } from "../../src/image/index.js";
import { canRun } from "../../src/runtime/index.js";
import { sha256, startFakeRegistry } from "../support/fake-registry.js";
import type { FakeRegistry } from "../support/fake-registry.js";
import { openLab } from "../support/lab.js";

const host = hostPlatform();
const foreign: Platform = { os: "linux", architecture: host.architecture === "s390x" ? "arm64" : "s390x" };

/** Puts an image without layers, with `WHO=<architecture>`, under a name; returns its descriptor. */
function addImage(registry: FakeRegistry, name: string, platform: Platform): object {
  const put = (bytes: Buffer): { digest: string; size: number } => {
    registry.blobs.set(sha256(bytes), bytes);
    return { digest: sha256(bytes), size: bytes.length };
  };
  const config = {
    ...platform,
    config: { Env: [`WHO=${platform.architecture}`] },
    rootfs: { type: "layers", diff_ids: [] },
  };
  const described = { mediaType: mediaTypes.ociConfig, ...put(Buffer.from(JSON.stringify(config))) };
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: described, layers: [] };
  const bytes = Buffer.from(JSON.stringify(manifest));
  for (const reference of [name, `${name.slice(0, name.indexOf("/"))}/${sha256(bytes)}`]) {
    registry.manifests.set(reference, { type: mediaTypes.ociManifest, bytes });
  }
  return { mediaType: mediaTypes.ociManifest, digest: sha256(bytes), size: bytes.length, platform };
}

/** A registry with `multi`, for both platforms, and `single`, for the foreign one alone. */
async function startRegistry(): Promise<FakeRegistry> {
  const registry = await startFakeRegistry();
  const manifests = [host, foreign].map((platform) =>
    addImage(registry, `multi/${platform.architecture}`, platform),
  );
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  registry.manifests.set("multi/latest", {
    type: mediaTypes.ociIndex,
    bytes: Buffer.from(JSON.stringify(index)),
  });
  addImage(registry, "single/latest", foreign);
  return registry;
}

const spelled = formatPlatform(foreign);

describe("images of several platforms", () => {
  test("each FROM gets the one that it wants, and a stored one of another platform does not answer", async () => {
    await using registry = await startRegistry();
    await using lab = await openLab();
    const who = async (flag: string, pull: "missing" | "never" = "missing"): Promise<unknown> => {
      const file = `FROM ${flag} ${registry.host}/multi\nENV A=1\n`;
      return (await lab.build(file, { tlsVerify: false, pull })).result.config.config.Env?.[0];
    };
    await expect(who("")).resolves.toBe(`WHO=${host.architecture}`);
    await expect(who(`--platform=${spelled}`, "never")).rejects.toMatchObject({
      message: `image ${registry.host}/multi is stored here for ${formatPlatform(host)}, not ${spelled}, and pulling is off`,
    });
    await expect(who(`--platform=${spelled}`)).resolves.toBe(`WHO=${foreign.architecture}`);
    await expect(who("", "never")).resolves.toBe(`WHO=${host.architecture}`);
    await expect(who(`--platform=${spelled}`, "never")).resolves.toBe(`WHO=${foreign.architecture}`);
    await expect(who("--platform=$BUILDPLATFORM", "never")).resolves.toBe(`WHO=${host.architecture}`);
    const names = (await lab.cooper.images()).flatMap((image) => image.names);
    expect(names.filter((name) => name.startsWith(`${registry.host}/multi:latest`)).toSorted()).toEqual([
      `${registry.host}/multi:latest`,
      expect.stringMatching(/\/multi:latest@sha256:/),
    ]);
  });

  test("what is pulled first for another platform does not take the tag", async () => {
    await using registry = await startRegistry();
    await using lab = await openLab();
    const file = `FROM ${registry.host}/multi\nENV A=1\n`;
    const far = await lab.build(file, { tlsVerify: false, platform: spelled });
    expect(far.result.config).toMatchObject(foreign);
    const near = await lab.build(file, { tlsVerify: false });
    expect(near.result.config).toMatchObject(host);
    expect((await lab.build(file, { tlsVerify: false, platform: spelled, pull: "never" })).built).toEqual([]);
  });

  test("an image that there is only for one platform is used with a warning, and asked for once", async () => {
    await using registry = await startRegistry();
    await using lab = await openLab();
    const file = `FROM ${registry.host}/single\nENV A=1\n`;
    const { events } = await lab.build(file, { tlsVerify: false });
    expect(events).toContainEqual(expect.objectContaining({ type: "warning", code: "platform" }));
    const asked = registry.log.length;
    expect((await lab.build(file, { tlsVerify: false })).built).toEqual([]);
    expect(registry.log.length).toBe(asked);
  });

  test("one image has one name, for whichever platforms it was asked", async () => {
    await using registry = await startRegistry();
    addImage(registry, "ours/latest", host);
    await using lab = await openLab();
    const file = `FROM ${registry.host}/ours\nENV A=1\n`;
    await lab.build(file, { tlsVerify: false, platform: spelled });
    await lab.build(file, { tlsVerify: false });
    const names = (await lab.cooper.images()).flatMap((image) => image.names);
    expect(names).toEqual([`${registry.host}/ours:latest`]);
  });

  test("an image of this store serves any platform, with a warning", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nENV A=1\n", { tags: ["mine"], platform: spelled });
    const { events } = await lab.build("FROM localhost/mine\nENV B=1\n");
    expect(events).toContainEqual({
      type: "warning",
      code: "platform",
      message: `localhost/mine is for ${spelled}, not ${formatPlatform(host)}`,
    });
  });
});

describe("--platform", () => {
  test("is what the image says of itself, whatever its base says, when it is given", async () => {
    await using lab = await openLab();
    const own = { os: host.os, architecture: host.architecture };
    await lab.build("FROM scratch\nENV A=1\n", { tags: ["mine"] });
    const file = "FROM localhost/mine\nENV B=1\n";
    const asked = await lab.build(file, { platform: "linux/arm/v6" });
    expect(asked.result.config).toMatchObject({ os: "linux", architecture: "arm", variant: "v6" });
    expect((await lab.build(file, { platform: "linux/arm/v6" })).result.imageId).toBe(asked.result.imageId);
    const plain = await lab.build(file);
    expect(plain.result.config).toMatchObject(own);
    expect(plain.built).toEqual([]);
    const fixed = "FROM --platform=linux/arm/v6 scratch\nENV A=1\n";
    expect((await lab.build(fixed, { platform: formatPlatform(host) })).result.config).toMatchObject(own);
  });

  test("decides what the image is for and what the platform ARGs say", async () => {
    await using lab = await openLab();
    const file =
      "FROM --platform=$BUILDPLATFORM scratch AS b\nFROM scratch\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDARCH\n" +
      "ENV X=$TARGETPLATFORM,$TARGETOS,$TARGETARCH,$TARGETVARIANT,$BUILDARCH\n";
    const { result } = await lab.build(file, { platform: "linux/armhf" });
    expect(result.config).toMatchObject({ os: "linux", architecture: "arm", variant: "v7" });
    expect(result.config.config.Env).toContain(`X=linux/arm/v7,linux,arm,v7,${host.architecture}`);
  });

  test("a stage that cannot run here may copy, and its RUN is refused before the first step", async () => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    const copied = await lab.build("FROM scratch\nCOPY a /\nWORKDIR /w\n", { platform: "linux/vax" });
    expect(copied.built).toHaveLength(2);
    const started: string[] = [];
    const failure = lab.build('FROM --platform=linux/vax scratch AS v\nFROM v\nCOPY a /\nRUN ["/a"]\n', {
      onEvent: (event) => void started.push(event.type),
    });
    await expect(failure).rejects.toMatchObject({
      code: "unsupported",
      message: "RUN in a stage for linux/vax: this machine cannot run its programs",
      where: "Containerfile:4:1",
    });
    expect(started).not.toContain("step-start");
  });

  test.each(["linux/amd64,linux/arm64", "bogus", "linux/", "a/b/c/d", "local"])(
    "%s is no platform",
    async (platform) => {
      await using lab = await openLab();
      await expect(lab.build("FROM scratch\nENV A=1\n", { platform })).rejects.toMatchObject({
        code: "usage",
      });
      const from = lab.build(`FROM --platform=${platform} scratch\nENV A=1\n`);
      await expect(from).rejects.toMatchObject({ code: "usage", where: "Containerfile:1:6" });
    },
  );
});

test.each([
  ["linux/x86_64", "linux/amd64"],
  ["LINUX/AMD64", "linux/amd64"],
  ["linux/amd64/v1", "linux/amd64"],
  ["linux/amd64/v3", "linux/amd64/v3"],
  ["arm64", "linux/arm64"],
  ["linux/aarch64", "linux/arm64"],
  ["linux/arm64/v8", "linux/arm64"],
  ["linux/arm64/8", "linux/arm64"],
  ["linux/arm", "linux/arm/v7"],
  ["linux/arm/6", "linux/arm/v6"],
  ["armel", "linux/arm/v6"],
  ["linux/i386", "linux/386"],
  ["macos/arm64", "darwin/arm64"],
  ["linux", formatPlatform(host)],
])("%s is %s", (text, expected) => {
  expect(formatPlatform(parsePlatform(text))).toBe(expected);
});

describe("programs of another platform", () => {
  const magic = (machine: string, order: "01" | "02"): string =>
    `7f454c4602${order}01${"00".repeat(9)}0200${machine}`;
  test.each([
    [
      "fixed and enabled",
      "s390x",
      `enabled\ninterpreter /q\nflags: OCF\noffset 0\nmagic ${`7f454c46020201${"00".repeat(9)}00020016`}\n`,
      true,
    ],
    [
      "of another machine",
      "s390x",
      `enabled\ninterpreter /q\nflags: F\noffset 0\nmagic ${magic("b700", "01")}\n`,
      false,
    ],
    [
      "disabled",
      "riscv64",
      `disabled\ninterpreter /q\nflags: F\noffset 0\nmagic ${magic("f300", "01")}\n`,
      false,
    ],
    [
      "not fixed: the interpreter would have to be in the image",
      "riscv64",
      `enabled\ninterpreter /q\nflags: OC\noffset 0\nmagic ${magic("f300", "01")}\n`,
      false,
    ],
    [
      "little endian",
      "riscv64",
      `enabled\ninterpreter /q\nflags: F\noffset 0\nmagic ${magic("f300", "01")}\n`,
      true,
    ],
    ["by extension", "riscv64", "enabled\ninterpreter /q\nflags: F\nextension .x\n", false],
  ])("a handler that is %s", (_what, architecture, handler, expected) => {
    const dir = mkdtempSync(join(tmpdir(), "cooper-binfmt-"));
    try {
      writeFileSync(join(dir, "status"), "enabled\n");
      writeFileSync(join(dir, "qemu"), handler);
      expect(canRun({ os: "linux", architecture }, dir)).toBe(expected);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("run here when they are of this machine, and no other system's do", () => {
    expect(canRun(host, "/nonexistent")).toBe(true);
    expect(canRun({ ...host, os: "windows" }, "/nonexistent")).toBe(false);
    expect(canRun({ os: "linux", architecture: "vax" }, "/nonexistent")).toBe(false);
  });
});
