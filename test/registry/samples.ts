import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { CooperError } from "../../src/errors.js";
import type { CooperEvent } from "../../src/events.js";
import { digestOf, makeManifest, mediaTypes, parseReference } from "../../src/image/index.js";
import type {
  BlobSink,
  BlobSource,
  Descriptor,
  Digest,
  FullReference,
  Manifest,
} from "../../src/image/index.js";
import { openRegistry } from "../../src/registry/index.js";
import type { OpenRegistryOptions, PushImage, Registry } from "../../src/registry/index.js";
import { reply, replyError } from "../support/fake-registry.js";
import type { FakeRegistry, Script } from "../support/fake-registry.js";

export const amd64 = { os: "linux", architecture: "amd64" } as const;

/** Blobs in memory that keep the contracts of BlobSource and BlobSink: nothing is stored or read unverified. */
export interface MemoryBlobs extends BlobSource, BlobSink {
  readonly blobs: Map<Digest, Buffer>;
}

export function memoryBlobs(): MemoryBlobs {
  const blobs = new Map<Digest, Buffer>();
  const bytesOf = (digest: Digest) => {
    const bytes = blobs.get(digest);
    if (!bytes) throw new CooperError("not-found", `no blob ${digest}`);
    return bytes;
  };
  return {
    blobs,
    has: (digest) => blobs.has(digest),
    read: ({ digest }) => {
      const bytes = bytesOf(digest);
      const chunks = Array.from({ length: Math.ceil(bytes.byteLength / 65536) }, (_, i) =>
        bytes.subarray(i * 65536, (i + 1) * 65536),
      );
      return Readable.from(chunks, { objectMode: false });
    },
    bytes: async ({ digest }) => bytesOf(digest),
    write: async ({ digest, size }, content) => {
      const chunks: Buffer[] = [];
      for await (const chunk of content as AsyncIterable<Buffer>) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      if (bytes.byteLength !== size || digestOf(bytes) !== digest)
        throw new CooperError("corrupt", `blob ${digest} has other bytes`);
      blobs.set(digest, bytes);
    },
  };
}

/** A small image of random layers. */
export interface SampleImage extends PushImage {
  readonly blobs: MemoryBlobs;
  readonly digest: Digest;
}

export function sampleImage(
  layerSizes: readonly number[] = [1000],
  format: "oci" | "docker" = "oci",
): SampleImage {
  const blobs = memoryBlobs();
  const add = (mediaType: string, bytes: Buffer): Descriptor => {
    const digest = digestOf(bytes);
    blobs.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.byteLength };
  };
  const tars = layerSizes.map((size) => randomBytes(size));
  const layers = tars.map((tar) =>
    add(format === "oci" ? mediaTypes.ociLayerGzip : mediaTypes.dockerLayerGzip, gzipSync(tar, { level: 1 })),
  );
  const diffIds = tars.map((tar) => digestOf(tar));
  const document = {
    architecture: "amd64",
    os: "linux",
    config: { Env: ["A=b"] },
    rootfs: { type: "layers", diff_ids: diffIds },
    history: [],
  };
  const config = add(
    format === "oci" ? mediaTypes.ociConfig : mediaTypes.dockerConfig,
    Buffer.from(JSON.stringify(document)),
  );
  const manifest = makeManifest(format, config, layers);
  const manifestBytes = Buffer.from(JSON.stringify(manifest));
  return { manifest, manifestBytes, blobs, digest: digestOf(manifestBytes) };
}

/** Puts an image straight into a fake registry. */
export function seed(
  fake: FakeRegistry,
  name: string,
  image: { readonly manifest: Manifest; readonly manifestBytes: Uint8Array; readonly blobs: MemoryBlobs },
): void {
  for (const [digest, bytes] of image.blobs.blobs) fake.blobs.set(digest, bytes);
  const bytes = Buffer.from(image.manifestBytes);
  const [repository = "", tag = ""] = name.split(":");
  fake.manifests.set(`${repository}/${tag}`, { type: image.manifest.mediaType, bytes });
  fake.manifests.set(`${repository}/${digestOf(bytes)}`, { type: image.manifest.mediaType, bytes });
}

/** An opened room with a home and /etc of its own, quick retries, and all events it told. */
export interface TestRoom extends AsyncDisposable {
  readonly registry: Registry;
  readonly home: string;
  readonly etc: string;
  readonly events: CooperEvent[];
  readonly onEvent: (event: CooperEvent) => void;
}

export function openTestRoom(options: Partial<OpenRegistryOptions> = {}): TestRoom {
  const dir = mkdtempSync(join(tmpdir(), "cooper-registry-room-"));
  const [home, etc] = [join(dir, "home"), join(dir, "etc")];
  for (const path of [home, etc]) mkdirSync(path);
  const events: CooperEvent[] = [];
  const registry = openRegistry({
    home,
    etc,
    uid: 4_000_000,
    ...options,
    env: { PATH: process.env["PATH"], ...options.env },
    timings: { retryBaseMs: 5, ...options.timings },
  });
  return {
    registry,
    home,
    etc,
    events,
    onEvent: (event) => events.push(event),
    [Symbol.asyncDispose]: async () => {
      await registry[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A full name from its text. */
export function fullName(text: string): FullReference {
  const { registry, ...rest } = parseReference(text);
  if (registry === undefined) throw new Error(`${text} names no registry`);
  return { registry, ...rest };
}

/** What a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<CooperError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CooperError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** A blob of any size that is never in memory as a whole; the same seed gives the same bytes. */
export function hugeBlob(
  size: number,
  seedByte: number,
): { readonly descriptor: Descriptor; readonly source: BlobSource } {
  const block = Buffer.alloc(64 * 1024, createHash("sha512").update(Buffer.of(seedByte)).digest());
  const chunks = function* () {
    for (let left = size; left > 0; left -= block.byteLength)
      yield left >= block.byteLength ? block : block.subarray(0, left);
  };
  const hash = createHash("sha256");
  for (const chunk of chunks()) hash.update(chunk);
  const digest = `sha256:${hash.digest("hex")}` as Digest;
  const descriptor = { mediaType: mediaTypes.ociLayer, digest, size };
  return {
    descriptor,
    source: {
      read: () => Readable.from(chunks(), { objectMode: false }),
      bytes: () => Promise.reject(new Error("too large")),
    },
  };
}

/** What a token server does for its registry. */
export interface BearerOptions {
  /** Where the challenge sends clients; default `/token` of the fake itself. */
  readonly realm?: string;
  /** Fields of the token answer, by how many were given out before. */
  readonly token?: (count: number) => object;
  /** Whether the registry takes a token for a request. */
  readonly accepts?: (token: string, request: IncomingMessage) => boolean;
  /** What happens after authorization. */
  readonly next?: Script;
}

/** A script that asks for Bearer tokens and gives them out. */
export function bearer({
  realm,
  token = (count) => ({ token: `token-${count}` }),
  accepts = () => true,
  next,
}: BearerOptions = {}): Script {
  let given = 0;
  return (request, response, log) => {
    if (request.url?.startsWith("/token")) return reply(response, 200, {}, token(given++));
    const presented = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    if (presented !== undefined && accepts(presented, request))
      return next?.(request, response, log) ?? false;
    request.resume();
    const where = realm ?? `http://${request.headers.host}/token`;
    const challenge = `Bearer realm="${where}",service="fake",scope="repository:other/private:pull,push"`;
    return replyError(response, 401, "UNAUTHORIZED", "authentication required", {
      "www-authenticate": challenge,
    });
  };
}
