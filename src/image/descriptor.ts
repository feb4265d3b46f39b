import type { Digest } from "./digest.js";
import type { Platform } from "./platform.js";

/** Media types we read and write. Source: OCI image-spec media-types.md; docker distribution schema 2. */
export const mediaTypes = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

/** The two families of media types; an image's manifest, config and layers are all of one. */
export type ImageFormat = "oci" | "docker";

/** The family of a manifest's or config's media type. */
export function formatOf(mediaType: string): ImageFormat {
  return mediaType.startsWith("application/vnd.docker.") ? "docker" : "oci";
}

/** Names a blob. `size` in bytes. Source: OCI image-spec descriptor.md. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

export type Compression = "none" | "gzip" | "zstd";

/** How a layer blob of this media type is compressed; undefined for a media type that is no layer. */
export function layerCompression(mediaType: string): Compression | undefined {
  if (mediaType === mediaTypes.ociLayer || mediaType === mediaTypes.dockerLayer) return "none";
  if (mediaType === mediaTypes.ociLayerGzip || mediaType === mediaTypes.dockerLayerGzip) return "gzip";
  if (mediaType === mediaTypes.ociLayerZstd) return "zstd";
  return undefined;
}
