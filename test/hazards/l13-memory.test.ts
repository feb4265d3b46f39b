import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { forgeImage, forgeOciArchive } from "../support/oci-forge.js";
import { testWith } from "../support/packages.js";
import { forgeMember, forgePax } from "../support/tar-forge.js";

const MIB = 1024 * 1024;

let dir: string;
beforeEach(() => (dir = mkdtempSync("/dev/shm/cooper-l13-")));
afterEach(() => rmSync(dir, { recursive: true }));

/** A tar in pieces, packed as one gzip member for each: equal pieces are packed once. */
interface Bomb {
  readonly packed: Buffer;
  readonly diffId: string;
}

function bombOf(pieces: readonly Buffer[]): Bomb {
  const hash = createHash("sha256");
  const packed = new Map<Buffer, Buffer>();
  for (const piece of pieces) {
    hash.update(piece);
    if (!packed.has(piece)) packed.set(piece, gzipSync(piece, { level: 1 }));
  }
  return {
    packed: Buffer.concat(pieces.map((piece) => packed.get(piece) ?? Buffer.alloc(0))),
    diffId: `sha256:${hash.digest("hex")}`,
  };
}

/** One file of that many MiB of a byte. */
function fileBomb(mib: number, byte: number): readonly Buffer[] {
  const piece = Buffer.alloc(16 * MIB, byte);
  const header = forgeMember({ name: "bomb", size: mib * MIB }).subarray(0, 512);
  return [header, ...Array.from({ length: mib / 16 }, () => piece), Buffer.alloc(1024)];
}

/** A docker archive around a layer's tar, packed as a whole. */
function dockerArchive(layer: readonly Buffer[]): Buffer {
  const { diffId } = bombOf(layer);
  const config = forgeImage({
    layers: [],
    changes: { rootfs: { type: "layers", diff_ids: [diffId] }, history: [] },
  }).config;
  const manifest = [{ Config: "config.json", RepoTags: ["forged:latest"], Layers: ["0/layer.tar"] }];
  const size = layer.reduce((sum, piece) => sum + piece.length, 0);
  return bombOf([
    forgeMember({ name: "config.json", content: config }),
    forgeMember({ name: "manifest.json", content: JSON.stringify(manifest) }),
    forgeMember({ name: "0/layer.tar", size }).subarray(0, 512),
    ...layer,
    Buffer.alloc(1024),
  ]).packed;
}

/** An OCI archive with a packed layer. */
function ociArchive({ packed, diffId }: Bomb): Buffer {
  const changes = { rootfs: { type: "layers", diff_ids: [diffId] } };
  return forgeOciArchive(forgeImage({ layers: [packed], changes, name: "forged" }));
}

type Door = "add" | "context" | "load" | "use";

const SCRIPT = `
const [library, root, door, path] = process.argv.slice(1);
const { createReadStream, readFileSync } = await import("node:fs");
const { basename, dirname } = await import("node:path");
const { openCooper } = await import(library);
const cooper = await openCooper({ root });
const doors = {
  add: () => cooper.build({ contextDir: dirname(path), containerfile: "FROM scratch\\nADD " + basename(path) + " /in/\\n" }),
  context: () => cooper.build({ context: createReadStream(path), containerfile: "FROM scratch\\nCOPY . /in/\\n" }),
  load: () => cooper.load(path),
  use: async () => {
    await cooper.load(path);
    await cooper.build({ contextDir: "/var/empty", containerfile: "FROM scratch\\nCOPY --from=localhost/forged /bomb /\\n" });
  },
};
const code = await doors[door]().then(() => "none", (error) => error.code + " " + error.message);
await cooper[Symbol.asyncDispose]();
const [, peak] = /VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"));
console.log(JSON.stringify({ code, peak: peak * 1024 }));
`;

/** Sends bytes through a door in a process of its own; how it failed, and the most memory that it held. */
function through(
  door: Door,
  bytes: Buffer,
  root = join(dir, "root"),
): { readonly code: string; readonly peak: number } {
  const context = join(dir, "context");
  execFileSync("mkdir", ["-p", context]);
  const path = join(context, "archive.tar.gz");
  writeFileSync(path, bytes);
  const library = new URL("../../dist/index.js", import.meta.url).href;
  const args = ["--input-type=module", "--eval", SCRIPT, "--", library, root, door, path];
  const found = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as ReturnType<
    typeof through
  >;
  expect(readdirSync(join(root, "tmp"))).toEqual([]);
  return found;
}

describe("L13: what is small until it is unpacked is never in memory as a whole", () => {
  test.each<[Door, (pieces: readonly Buffer[]) => Buffer]>([
    ["add", (pieces) => bombOf(pieces).packed],
    ["context", (pieces) => bombOf(pieces).packed],
    ["load", dockerArchive],
    ["use", (pieces) => ociArchive(bombOf(pieces))],
  ])("a file of 320 MiB through %s", (door, pack) => {
    const { code, peak } = through(door, pack(fileBomb(320, 0)));
    expect(code).toBe("none");
    expect(peak).toBeLessThan(256 * MIB);
  });

  test("a million global headers", () => {
    const globals = Buffer.concat(
      Array.from({ length: 1000 }, () => forgePax({ comment: "x", mtime: "1" }, "g")),
    );
    const pieces = [
      ...Array.from({ length: 1000 }, () => globals),
      forgeMember({ name: "a" }),
      Buffer.alloc(1024),
    ];
    const { code, peak } = through("load", ociArchive(bombOf(pieces)));
    expect(code).toBe("none");
    expect(peak).toBeLessThan(256 * MIB);
  });

  testWith(["root", "mounts"], "nor is it kept where it does not fit", () => {
    const small = join(dir, "small");
    const pieces = fileBomb(160, 1);
    const packed: Readonly<Record<Door, Buffer>> = {
      add: bombOf(pieces).packed,
      context: bombOf(pieces).packed,
      load: dockerArchive(pieces),
      use: ociArchive(bombOf(pieces)),
    };
    for (const door of ["add", "context", "load", "use"] as const) {
      execFileSync("mkdir", ["-p", small]);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64m", "tmpfs", small]);
      try {
        const { code, peak } = through(door, packed[door], join(small, "root"));
        expect(code, door).toContain("no-space");
        expect(peak, door).toBeLessThan(256 * MIB);
      } finally {
        execFileSync("umount", [small]);
      }
    }
  });
});
