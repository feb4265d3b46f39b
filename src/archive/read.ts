import { constants, createReadStream, openSync, readFileSync, closeSync, fstatSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import type { Readable } from "node:stream";
import { CooperError, ioError } from "../errors.js";
import type { BlobSink, Descriptor, Manifest } from "../image/index.js";
import { digestFromHex, isIndex, MAX_DOCUMENT_SIZE, mediaTypes, parseManifest } from "../image/index.js";
import { collect, eachMember } from "./members.js";

/** Where an archive's blobs go. */
export interface ArchiveSink {
  readonly blobs: BlobSink;
  /** Stores bytes under the digest they turn out to have. */
  readonly addBlob: (mediaType: string, content: Readable) => Promise<Descriptor>;
  /** A stored document, verified. */
  readonly bytes: (descriptor: Descriptor) => Promise<Buffer>;
}

/** An image that an archive holds; its blobs are stored, its layers are not registered yet. */
export interface ReadImage {
  /** Names as the archive has them, unchecked text. */
  readonly names: readonly string[];
  readonly config: Buffer;
  readonly configMediaType: string;
  /** In the order of the config's diff_ids. */
  readonly layers: readonly Descriptor[];
  /** Manifest bytes of an OCI layout; docker archives have none. */
  readonly manifest?: Descriptor;
}

/** Reads an OCI layout directory, an OCI archive or a docker archive (also gzipped). Throws `corrupt`, `not-found`, `unsupported`. */
export async function readArchive(
  path: string,
  sink: ArchiveSink,
  signal?: AbortSignal,
): Promise<readonly ReadImage[]> {
  let stats;
  try {
    stats = statSync(path);
  } catch (error) {
    throw ioError("read", path, error);
  }
  if (stats.isDirectory()) return readLayoutDirectory(path, sink, signal);
  const documents = await scanDocuments(path, signal);
  const index = documents.get("index.json");
  if (index) return readOciArchive(path, index, sink, signal);
  const manifest = documents.get("manifest.json");
  if (manifest) return readDockerArchive(path, manifest, sink, signal);
  throw new CooperError("unsupported", `${path} is neither an OCI archive nor a docker archive`);
}

const BLOB_NAME = /^blobs\/sha256\/([a-f0-9]{64})$/;

async function scanDocuments(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
  const found = new Map<string, Buffer>();
  await eachMember(
    path,
    async (name, header, content) => {
      if ((name === "index.json" || name === "manifest.json") && header.type === "file")
        found.set(name, await collect(content, name));
    },
    signal,
  );
  return found;
}

async function readOciArchive(
  path: string,
  index: Buffer,
  sink: ArchiveSink,
  signal?: AbortSignal,
): Promise<readonly ReadImage[]> {
  await eachMember(
    path,
    async (name, header, content) => {
      const hex = BLOB_NAME.exec(name)?.[1];
      if (hex === undefined || header.type !== "file") return;
      await sink.blobs.write(
        { mediaType: "", digest: digestFromHex(hex), size: header.size ?? 0 },
        content,
        signal,
      );
    },
    signal,
  );
  return imagesOfIndex(path, index, sink);
}

async function readLayoutDirectory(
  path: string,
  sink: ArchiveSink,
  signal?: AbortSignal,
): Promise<readonly ReadImage[]> {
  const index = readIndex(path);
  const put = async (descriptor: Descriptor): Promise<void> => {
    if (sink.blobs.has(descriptor.digest)) return;
    const file = join(path, "blobs/sha256", descriptor.digest.slice("sha256:".length));
    const { fd } = openFlat(file);
    await sink.blobs.write(descriptor, createReadStream(file, { fd }), signal);
  };
  return imagesOfIndex(path, index, sink, put);
}

/** Opens a regular file that is no link; never waits for one that is none. */
function openFlat(path: string): { readonly fd: number; readonly size: number } {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = fstatSync(fd);
    if (stats.isFile()) return { fd, size: stats.size };
    closeSync(fd);
  } catch (error) {
    throw ioError("read", path, error);
  }
  throw new CooperError("corrupt", `${path} is no regular file`);
}

/** The bytes of a layout directory's index.json. Throws `corrupt`, `io`. */
export function readIndex(dir: string): Buffer {
  const path = join(dir, "index.json");
  const { fd, size } = openFlat(path);
  try {
    if (size > MAX_DOCUMENT_SIZE) throw new CooperError("corrupt", `${path} is larger than 4 MiB`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

async function imagesOfIndex(
  path: string,
  bytes: Buffer,
  sink: ArchiveSink,
  put: (descriptor: Descriptor) => Promise<void> = () => Promise.resolve(),
): Promise<readonly ReadImage[]> {
  const index = parseManifest(bytes, mediaTypes.ociIndex, `${path}: index.json`);
  if (!isIndex(index)) throw new CooperError("corrupt", `${path}: index.json is not an index`);
  const images = new Map<string, ReadImage>();
  for (const descriptor of index.manifests) {
    await put(descriptor);
    const manifest = parseManifest(
      await sink.bytes(descriptor),
      descriptor.mediaType,
      `${path}: manifest ${descriptor.digest}`,
    );
    if (isIndex(manifest))
      throw new CooperError("unsupported", `${path}: an index inside the index is not supported`);
    for (const blob of [manifest.config, ...manifest.layers]) await put(blob);
    const name = descriptor.annotations?.["org.opencontainers.image.ref.name"];
    const known = images.get(descriptor.digest);
    images.set(
      descriptor.digest,
      await ociImage(manifest, descriptor, [...(known?.names ?? []), ...(name ? [name] : [])], sink),
    );
  }
  return [...images.values()];
}

async function ociImage(
  manifest: Manifest,
  descriptor: Descriptor,
  names: readonly string[],
  sink: ArchiveSink,
): Promise<ReadImage> {
  return {
    names,
    config: await sink.bytes(manifest.config),
    configMediaType: manifest.config.mediaType,
    layers: manifest.layers,
    manifest: { mediaType: manifest.mediaType, digest: descriptor.digest, size: descriptor.size },
  };
}

interface DockerEntry {
  readonly Config: string;
  readonly RepoTags?: readonly string[] | null;
  readonly Layers: readonly string[];
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((name) => typeof name === "string");
}

function parseDockerManifest(path: string, bytes: Buffer): readonly DockerEntry[] {
  const bad = (): CooperError =>
    new CooperError("corrupt", `${path}: manifest.json is not that of a docker archive`);
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8"));
  } catch {
    throw bad();
  }
  const isEntry = (e: unknown): e is DockerEntry =>
    typeof e === "object" &&
    e !== null &&
    "Config" in e &&
    typeof e.Config === "string" &&
    "Layers" in e &&
    isNames(e.Layers) &&
    (!("RepoTags" in e) || e.RepoTags === null || isNames(e.RepoTags));
  if (!Array.isArray(json) || !json.every(isEntry)) throw bad();
  return json;
}

async function readDockerArchive(
  path: string,
  manifest: Buffer,
  sink: ArchiveSink,
  signal?: AbortSignal,
): Promise<readonly ReadImage[]> {
  const entries = parseDockerManifest(path, manifest);
  const configNames = new Set(entries.map((entry) => posix.normalize(entry.Config)));
  const layerNames = new Set(entries.flatMap((entry) => entry.Layers.map((name) => posix.normalize(name))));
  const configs = new Map<string, Buffer>();
  const layers = new Map<string, Descriptor>();
  const links = new Map<string, string>();
  await eachMember(
    path,
    async (name, header, content) => {
      if (header.type === "symlink") links.set(name, posix.join(posix.dirname(name), header.linkname ?? ""));
      else if (configNames.has(name)) configs.set(name, await collect(content, `${path}: ${name}`));
      else if (layerNames.has(name) || name.endsWith("/layer.tar"))
        layers.set(name, await sink.addBlob(mediaTypes.dockerLayer, content));
    },
    signal,
  );
  return entries.map((entry) => {
    const config = configs.get(posix.normalize(entry.Config));
    if (!config) throw new CooperError("corrupt", `${path}: ${entry.Config} is missing`);
    const found = entry.Layers.map((name) => {
      const clean = posix.normalize(name);
      const layer = layers.get(clean) ?? layers.get(links.get(clean) ?? "");
      if (!layer) throw new CooperError("corrupt", `${path}: layer ${name} is missing`);
      return layer;
    });
    return { names: entry.RepoTags ?? [], config, configMediaType: mediaTypes.dockerConfig, layers: found };
  });
}
