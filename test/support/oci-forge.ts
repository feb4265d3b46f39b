import { createHash } from "node:crypto";
import { forgeTar } from "./tar-forge.js";
import type { ForgedMember } from "./tar-forge.js";

/** An image written by hand, right or wrong as a test wants it; shares no code with the product. */
export interface ForgedImage {
  /** Blobs as they stand in a layout, by hex digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly config: Buffer;
  readonly manifest: Buffer;
  readonly index: Buffer;
}

export interface ForgeImageOptions {
  /** Uncompressed tars, lowest first. */
  readonly layers: readonly Buffer[];
  /** The `config` object of the image's config. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Further members of the image's config, or others instead of those that fit. */
  readonly changes?: Readonly<Record<string, unknown>>;
  readonly name?: string;
}

export const hexOf = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");

export function forgeImage({ layers, config = {}, changes = {}, name }: ForgeImageOptions): ForgedImage {
  const blobs = new Map<string, Buffer>();
  const put = (mediaType: string, bytes: Buffer): object => {
    blobs.set(hexOf(bytes), bytes);
    return { mediaType, digest: `sha256:${hexOf(bytes)}`, size: bytes.length };
  };
  const configBytes = json({
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: layers.map((tar) => `sha256:${hexOf(tar)}`) },
    history: layers.map(() => ({ created_by: "forged" })),
    ...changes,
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: put("application/vnd.oci.image.config.v1+json", configBytes),
    layers: layers.map((tar) => put("application/vnd.oci.image.layer.v1.tar", tar)),
  });
  const annotations = name === undefined ? {} : { "org.opencontainers.image.ref.name": name };
  const index = json({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [{ ...put("application/vnd.oci.image.manifest.v1+json", manifest), annotations }],
  });
  return { blobs, config: configBytes, manifest, index };
}

/** The image as an OCI archive. */
export function forgeOciArchive(image: ForgedImage): Buffer {
  return forgeTar(layoutMembers(image));
}

/** The members of an OCI archive or layout directory. */
export function layoutMembers({ blobs, index }: ForgedImage): readonly ForgedMember[] {
  return [
    { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", content: index },
    ...[...blobs].map(([hex, content]) => ({ name: `blobs/sha256/${hex}`, content })),
  ];
}

/** The image as a docker archive, named as given. */
export function forgeDockerArchive(
  { config }: ForgedImage,
  layers: readonly Buffer[],
  manifest: Readonly<Record<string, unknown>> = {},
): Buffer {
  const entry = {
    Config: "config.json",
    RepoTags: ["forged:latest"],
    Layers: layers.map((_, index) => `${index}/layer.tar`),
    ...manifest,
  };
  return forgeTar([
    ...layers.map((content, index) => ({ name: `${index}/layer.tar`, content })),
    { name: "config.json", content: config },
    { name: "manifest.json", content: JSON.stringify([entry]) },
  ]);
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
