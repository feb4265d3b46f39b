import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openCooper } from "../../src/index.js";
import { PROGRAM } from "../faults/fault-lab.js";
import { openCanary, SECRET } from "../support/canary.js";
import type { Canary } from "../support/canary.js";
import {
  forgeDockerArchive,
  forgeImage,
  forgeOciArchive,
  hexOf,
  layoutMembers,
} from "../support/oci-forge.js";
import { forgeMember, forgeTar } from "../support/tar-forge.js";
import { startFakeRegistry } from "../support/fake-registry.js";
import { failureOf } from "../snapshot/room.js";
import { peakOf } from "../support/peak.js";

const tar = forgeTar([{ name: "a", content: "x" }]);
const image = forgeImage({ layers: [tar], name: "forged" });

let dir: string;
let canary: Canary;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cooper-l20-"));
  canary = openCanary(dir);
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Loads a source into a store of its own, which must refuse it and keep no image; the error. */
async function refusal(source: string): Promise<Error & { readonly code?: string }> {
  await using cooper = await openCooper({ root: join(dir, "root") });
  const failure = await failureOf(cooper.load(source));
  expect(failure.name, failure.stack ?? "").toBe("CooperError");
  expect(failure.message).not.toMatch(/\n/);
  expect(failure.message).not.toContain(SECRET);
  expect(await cooper.images({ all: true })).toEqual([]);
  expect(readdirSync(join(dir, "root/tmp"))).toEqual([]);
  canary.untouched();
  return failure;
}

function written(bytes: Buffer): string {
  const path = join(dir, "archive");
  writeFileSync(path, bytes);
  return path;
}

/** The image as a layout directory. */
function layout(): string {
  const path = join(dir, "layout");
  for (const { name, content = "" } of layoutMembers(image)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return path;
}

describe("L20: a layout directory", () => {
  test("is read as it is", async () => {
    await using cooper = await openCooper({ root: join(dir, "root") });
    expect(await cooper.load(layout())).toEqual(["localhost/forged:latest"]);
  });

  test.each(["index.json", ...[...image.blobs.keys()].map((hex) => `blobs/sha256/${hex}`)])(
    "with a link at %s is refused, wherever it leads",
    async (name) => {
      const path = join(layout(), name);
      // Even to the very same bytes.
      renameSync(path, join(dir, "elsewhere"));
      for (const target of [join(dir, "elsewhere"), join(canary.dir, "secret"), "/etc/shadow"]) {
        symlinkSync(target, path);
        expect((await refusal(join(dir, "layout"))).code).toBe("io");
        rmSync(path);
      }
    },
  );

  test.each(["index.json", ...[...image.blobs.keys()].map((hex) => `blobs/sha256/${hex}`)])(
    "whose %s is a FIFO is refused at once, also as a base",
    (name) => {
      const path = join(layout(), name);
      rmSync(path);
      execFileSync("mkfifo", [path]);
      // By the command, since one that waited for a writer would do so with the whole process.
      for (const args of [
        ["load", "-i", join(dir, "layout")],
        ["build", "--build-context", `base=oci-layout://${dir}/layout`, "-f", "-", canary.dir],
      ]) {
        const command = [PROGRAM, "--root", join(dir, "root"), ...args];
        // One that waits inside a system call hears no other signal.
        const bounds = { timeout: 20_000, killSignal: "SIGKILL" } as const;
        const said = spawnSync(process.execPath, command, { input: "FROM base\n", ...bounds });
        expect([said.signal, said.status, said.stderr.toString()]).toEqual([
          null,
          125,
          expect.stringContaining(`${path} is no regular file`),
        ]);
      }
      canary.untouched();
    },
  );

  test("whose index is endless, or a link, is refused at once, also as a base", async () => {
    const path = layout();
    const index = join(path, "index.json");
    rmSync(index);
    const asBase = async (): Promise<string | undefined> => {
      await using cooper = await openCooper({ root: join(dir, "root") });
      const options = { contextDir: canary.dir, buildContexts: { base: `oci-layout://${path}` } };
      return (await failureOf(cooper.build({ ...options, containerfile: "FROM base\n" }))).message;
    };
    execFileSync("truncate", ["-s", "1G", index]);
    const peak = await peakOf(async () => {
      expect((await refusal(path)).message).toContain("larger than 4 MiB");
      expect(await asBase()).toContain("larger than 4 MiB");
    });
    expect(peak).toBeLessThan(256 << 20);
    rmSync(index);
    symlinkSync(join(canary.dir, "secret"), index);
    expect(await asBase()).toContain("index.json");
  });
});

describe("L20: an archive of an image", () => {
  test.each([
    ["the same name twice", [...layoutMembers(image), { name: "./index.json", content: "{}" }]],
    ["a blob twice", [...layoutMembers(image), layoutMembers(image)[2] ?? { name: "" }]],
    [
      "a blob that is a link",
      [
        ...layoutMembers(image).filter(({ name }) => !name.endsWith(hexOf(tar))),
        { name: `blobs/sha256/${hexOf(tar)}`, type: "2", linkName: "/etc/shadow" },
      ],
    ],
    [
      "a blob that is a hard link",
      [
        ...layoutMembers(image).filter(({ name }) => !name.endsWith(hexOf(tar))),
        { name: `blobs/sha256/${hexOf(tar)}`, type: "1", linkName: "/etc/shadow" },
      ],
    ],
    [
      "an index that is a link",
      [
        ...layoutMembers(image).filter(({ name }) => name !== "index.json"),
        { name: "index.json", type: "2", linkName: "/etc/shadow" },
      ],
    ],
    [
      "a blob whose bytes are others",
      layoutMembers(image).map((member) =>
        member.name.endsWith(hexOf(tar)) ? { ...member, content: Buffer.alloc(tar.length) } : member,
      ),
    ],
  ])("with %s is refused", async (_, members) => {
    await refusal(written(forgeTar(members)));
  });

  test("with names that climb takes nothing from there", async () => {
    const members = [...layoutMembers(image), { name: "../host/victim", content: "x" }];
    await using cooper = await openCooper({ root: join(dir, "root") });
    expect(await cooper.load(written(forgeTar(members)))).toEqual(["localhost/forged:latest"]);
    canary.untouched();
    expect(readdirSync(dir).toSorted()).toEqual(["archive", "host", "root"]);
  });

  test.each<[string, Record<string, unknown>]>([
    ["a config outside", { Config: "../../../../../../etc/passwd" }],
    ["a config by its absolute name", { Config: "/etc/passwd" }],
    ["a layer outside", { Layers: ["../../../../../../etc/passwd"] }],
    ["a layer by its absolute name", { Layers: ["/etc/passwd"] }],
    ["layers that are no names", { Layers: [null, 7, {}] }],
    ["a config that is no name", { Config: 7 }],
    ["tags that are no list", { RepoTags: "forged:latest" }],
    ["tags that are no names", { RepoTags: [7] }],
    ["no layer at all", { Layers: [] }],
    ["a layer too many", { Layers: ["0/layer.tar", "0/layer.tar"] }],
  ])("of docker's kind with %s is refused", async (_, manifest) => {
    await refusal(written(forgeDockerArchive(image, [tar], manifest)));
  });

  test("of docker's kind with a layer that links out of it is refused", async () => {
    const manifest = [{ Config: "config.json", RepoTags: null, Layers: ["0/layer.tar"] }];
    for (const linkName of ["/etc/passwd", "../../../../etc/passwd", "../0/layer.tar"])
      await refusal(
        written(
          forgeTar([
            { name: "0/layer.tar", type: "2", linkName },
            { name: "config.json", content: image.config },
            { name: "manifest.json", content: JSON.stringify(manifest) },
          ]),
        ),
      );
  });

  test("L13: with a long name or extended header of a gigabyte is refused before it is in memory", async () => {
    const zeros = gzipSync(Buffer.alloc(64 << 20), { level: 1 });
    for (const type of ["L", "K", "x", "g"]) {
      const header = forgeMember({ name: "x", type, size: 1 << 30 }).subarray(0, 512);
      const path = written(Buffer.concat([gzipSync(header), ...Array.from({ length: 16 }, () => zeros)]));
      const peak = await peakOf(async () => {
        expect((await refusal(path)).code).toBe("corrupt");
      });
      expect(peak).toBeLessThan(256 << 20);
    }
  });
});

describe("L19: an image whose parts do not fit together is not loaded", () => {
  const other = `sha256:${hexOf("other")}`;
  test.each([
    ["another DiffId", [other]],
    ["a DiffId too many", [`sha256:${hexOf(tar)}`, other]],
    ["no DiffId", []],
  ])("%s", async (_, ids) => {
    const forged = forgeImage({ layers: [tar], changes: { rootfs: { type: "layers", diff_ids: ids } } });
    expect((await refusal(written(forgeOciArchive(forged)))).code).toBe("corrupt");
    expect((await refusal(written(forgeDockerArchive(forged, [tar])))).code).toBe("corrupt");
  });

  test("nor pulled, with a DiffId or with bytes that are others, and nothing of it is kept", async () => {
    await using fake = await startFakeRegistry();
    const wrong = { rootfs: { type: "layers", diff_ids: [other] } };
    const swapped = Buffer.from(tar);
    swapped[0] = 0x62;
    for (const [store, changes, bytes] of [
      ["wrong", wrong, tar],
      ["swapped", {}, swapped],
    ] as const) {
      const forged = forgeImage({ layers: [tar], changes });
      for (const [hex, blob] of forged.blobs) fake.blobs.set(`sha256:${hex}`, blob);
      fake.blobs.set(`sha256:${hexOf(tar)}`, bytes);
      const type = "application/vnd.oci.image.manifest.v1+json";
      fake.manifests.set("forged/1", { type, bytes: forged.manifest });
      await using cooper = await openCooper({ root: join(dir, store) });
      const failure = await failureOf(cooper.pull(`${fake.host}/forged:1`, { tlsVerify: false, retries: 0 }));
      expect(failure).toMatchObject({ name: "CooperError", code: "corrupt" });
      expect(await cooper.images({ all: true })).toEqual([]);
      expect(readdirSync(join(dir, store, "tmp"))).toEqual([]);
      expect(readdirSync(join(dir, store, "layers"))).toEqual([]);
    }
  });

  test("bytes behind the tar's end, which the DiffId does not know", async () => {
    const longer = Buffer.concat([tar, Buffer.alloc(512, 1)]);
    const changes = { rootfs: { type: "layers", diff_ids: [`sha256:${hexOf(tar)}`] } };
    expect((await refusal(written(forgeOciArchive(forgeImage({ layers: [longer], changes }))))).code).toBe(
      "corrupt",
    );
    const inGzip = Buffer.concat([gzipSync(tar), gzipSync(Buffer.alloc(512))]);
    expect((await refusal(written(forgeOciArchive(forgeImage({ layers: [inGzip], changes }))))).code).toBe(
      "corrupt",
    );
  });
});
