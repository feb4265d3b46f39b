import {
  createWriteStream,
  existsSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import type { Stats } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Pack } from "tar-stream";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { makeDirectories } from "../fs/index.js";
import type { BlobSource, Descriptor, DiffId, FullReference, ImageConfig, Manifest } from "../image/index.js";
import { digestOf, formatReference, hexOf, mediaTypes } from "../image/index.js";

export type ArchiveFormat = "oci-archive" | "oci-dir" | "docker-archive";

/** An image to write; `manifest` only for the OCI formats. */
export interface ArchiveImage {
  readonly names: readonly FullReference[];
  readonly config: ImageConfig;
  readonly configDescriptor: Descriptor;
  readonly manifest?: { readonly manifest: Manifest; readonly bytes: Uint8Array };
}

export interface ArchiveSource {
  readonly blobs: BlobSource;
  /** The uncompressed tar of a layer and its size in bytes; for docker archives. */
  readonly layerTar: (diffId: DiffId) => { readonly size: number; readonly content: Readable };
}

interface Member {
  readonly name: string;
  readonly size: number;
  readonly content: () => Readable;
}

/** Writes images as one archive. `dest` "-" is stdout. Nothing is left behind when it fails. Throws `io`, `no-space`. */
export async function writeArchive(
  images: readonly ArchiveImage[],
  source: ArchiveSource,
  options: { readonly format: ArchiveFormat; readonly dest: string; readonly signal?: AbortSignal },
): Promise<void> {
  const members =
    options.format === "docker-archive" ? dockerMembers(images, source) : ociMembers(images, source);
  if (options.format === "oci-dir") await writeDirectory(members, options.dest, options.signal);
  else await writeTar(members, options.dest, options.signal);
}

/** Source: OCI image-spec image-layout.md. */
function ociMembers(images: readonly ArchiveImage[], source: ArchiveSource): readonly Member[] {
  const manifests: Descriptor[] = [];
  const blobs = new Map<string, Member>();
  for (const { manifest: sealed, names } of images) {
    if (!sealed) throw new Error("an OCI archive needs manifests");
    const { manifest, bytes } = sealed;
    const digest = digestOf(bytes);
    const descriptor = { mediaType: manifest.mediaType, digest, size: bytes.byteLength };
    const named = names.map((name) => ({
      ...descriptor,
      annotations: { "org.opencontainers.image.ref.name": formatReference(name) },
    }));
    manifests.push(...(named.length > 0 ? named : [descriptor]));
    blobs.set(digest, document(`blobs/sha256/${hexOf(digest)}`, bytes));
    for (const blob of [manifest.config, ...manifest.layers]) {
      blobs.set(blob.digest, {
        name: `blobs/sha256/${hexOf(blob.digest)}`,
        size: blob.size,
        content: () => source.blobs.read(blob),
      });
    }
  }
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  return [
    document("oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" })),
    document("index.json", JSON.stringify(index)),
    ...blobs.values(),
  ];
}

/** Source: docker image spec v1.2, "Combined Image JSON + Filesystem Changeset Format". */
function dockerMembers(images: readonly ArchiveImage[], source: ArchiveSource): readonly Member[] {
  const layers = new Map<string, Member>();
  const configs: Member[] = [];
  const manifest = images.map(({ config, configDescriptor, names }) => {
    const name = `${hexOf(configDescriptor.digest)}.json`;
    configs.push({ name, size: configDescriptor.size, content: () => source.blobs.read(configDescriptor) });
    for (const diffId of config.rootfs.diff_ids) {
      const { size, content } = source.layerTar(diffId);
      content.destroy();
      layers.set(diffId, {
        name: `${hexOf(diffId)}.tar`,
        size,
        content: () => source.layerTar(diffId).content,
      });
    }
    return {
      Config: name,
      RepoTags: names.map(formatReference),
      Layers: config.rootfs.diff_ids.map((id) => `${hexOf(id)}.tar`),
    };
  });
  return [...layers.values(), ...configs, document("manifest.json", JSON.stringify(manifest))];
}

function document(name: string, bytes: Uint8Array | string): Member {
  const buffer = Buffer.from(bytes);
  return { name, size: buffer.length, content: () => Readable.from([buffer]) };
}

async function writeDirectory(members: readonly Member[], dest: string, signal?: AbortSignal): Promise<void> {
  const target = resolve(dest);
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new CooperError("io", `cannot write ${dest}: the directory is not empty`);
  }
  const staged = `${target}.cooper-${process.pid}`;
  try {
    for (const { name, content } of members) {
      makeDirectories(dirname(join(staged, name)));
      await pipeline(content(), createWriteStream(join(staged, name), { flags: "wx" }), { signal });
    }
    renameSync(staged, target);
  } catch (error) {
    throw ioError("write", dest, error);
  } finally {
    discard(staged);
  }
}

async function writeTar(members: readonly Member[], dest: string, signal?: AbortSignal): Promise<void> {
  if (dest === "-") return writeStdout(members, signal);
  const target = resolve(dest);
  const there = statOf(target);
  if (there?.isDirectory()) throw new CooperError("io", `cannot write ${dest}: is a directory`);
  if (there && !there.isFile()) return writeInto(members, target, signal);
  // A link to a file stays one.
  await writeInPlaceOf(members, there ? realpathSync(target) : target, dest, signal);
}

async function writeStdout(members: readonly Member[], signal?: AbortSignal): Promise<void> {
  try {
    await packInto(members, process.stdout, signal, false);
  } catch (error) {
    if (errnoOf(error) !== "EPIPE") throw ioError("write to", "stdout", error);
    throw new CooperError("io", "cannot write the whole archive to stdout: its reader went away", {
      cause: error,
    });
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw ioError("write", path, error);
  }
}

/** A device or a pipe is written to, not replaced. */
async function writeInto(members: readonly Member[], target: string, signal?: AbortSignal): Promise<void> {
  try {
    await packInto(members, createWriteStream(target, { flags: "r+" }), signal, true);
  } catch (error) {
    throw ioError("write", target, error);
  }
}

async function writeInPlaceOf(
  members: readonly Member[],
  target: string,
  dest: string,
  signal?: AbortSignal,
): Promise<void> {
  const staged = `${target}.cooper-${process.pid}`;
  try {
    await packInto(members, createWriteStream(staged, { flags: "wx" }), signal, true);
    renameSync(staged, target);
  } catch (error) {
    throw ioError("write", dest, error);
  } finally {
    discard(staged);
  }
}

/** Removes what was staged; a path that cannot exist at all is no second error. */
function discard(staged: string): void {
  if (existsSync(staged)) rmSync(staged, { recursive: true, force: true });
}

async function packInto(
  members: readonly Member[],
  out: NodeJS.WritableStream,
  signal: AbortSignal | undefined,
  end: boolean,
): Promise<void> {
  const { pack: newPack } = await import("tar-stream");
  const pack = newPack();
  const written = pipeline(pack, out, { end, ...(signal ? { signal } : {}) });
  const fed = feed(pack, members, signal);
  // A failure on either side ends the other: without this a dead reader would leave the feeder waiting for ever.
  fed.catch((error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))));
  await Promise.all([written, Promise.race([fed, written])]);
}

async function feed(pack: Pack, members: readonly Member[], signal?: AbortSignal): Promise<void> {
  for (const { name, size, content } of members) {
    const entry = pack.entry({ name, size, mode: 0o644, mtime: new Date(0) });
    await pipeline(content(), entry, { signal });
  }
  pack.finalize();
}
