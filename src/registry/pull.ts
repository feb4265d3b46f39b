import { CooperError } from "../errors.js";
import {
  digestOf,
  formatPlatform,
  isIndex,
  MAX_DOCUMENT_SIZE,
  mediaTypes,
  parseImageConfig,
  parseManifest,
  platformMatches,
  selectPlatform,
} from "../image/index.js";
import type { Descriptor, FullReference, ImageConfig, Index, Manifest, Platform } from "../image/index.js";
import { header } from "./answers.js";
import type { RepositoryClient } from "./client.js";
import { endpointText } from "./client.js";
import { persist } from "./persist.js";

/** A manifest and its config, verified. */
export interface PulledImage {
  readonly manifest: Manifest;
  readonly descriptor: Descriptor;
  readonly manifestBytes: Buffer;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
}

interface FetchedDocument {
  readonly bytes: Buffer;
  readonly descriptor: Descriptor;
  readonly document: Manifest | Index;
}

const ACCEPT = [
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  mediaTypes.dockerManifest,
  mediaTypes.dockerManifestList,
].join(", ");
const CONFIG_TYPES: readonly string[] = [mediaTypes.ociConfig, mediaTypes.dockerConfig];
/** Says nothing about the document: it must speak for itself. */
const VAGUE_TYPES = ["application/json", "application/octet-stream", "text/plain", "binary/octet-stream"];
/** An index may name an index, but not for ever. */
const MAX_DEPTH = 3;

/** Manifest and config of a name for a platform. Throws `not-found`, `corrupt`, `unsupported` and what requests throw. */
export async function pullImage(
  client: RepositoryClient,
  name: FullReference,
  platform: Platform,
): Promise<PulledImage> {
  const where = endpointText(client);
  let fetched = await fetchManifest(client, name.digest ?? name.tag ?? "latest", name.digest);
  for (let depth = 1; isIndex(fetched.document); depth += 1) {
    if (depth > MAX_DEPTH)
      throw new CooperError("corrupt", `${where}: indexes nested more than ${MAX_DEPTH} deep`);
    const chosen = selectPlatform(fetched.document, platform, where);
    fetched = await fetchManifest(client, chosen.digest, chosen.digest, chosen);
  }
  const manifest: Manifest = fetched.document;
  const { config: descriptor } = manifest;
  if (!CONFIG_TYPES.includes(descriptor.mediaType)) {
    throw new CooperError(
      "unsupported",
      `${where}: not a container image: its config is ${descriptor.mediaType}`,
    );
  }
  const configBytes = await fetchConfig(client, descriptor);
  const config = parseImageConfig(configBytes, `config of ${where}`);
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    const counts = `${manifest.layers.length} layers, but its config ${config.rootfs.diff_ids.length} diff_ids`;
    throw new CooperError("corrupt", `${where}: the manifest has ${counts}`);
  }
  return { manifest, descriptor: fetched.descriptor, manifestBytes: fetched.bytes, config, configBytes };
}

/** A sentence when an image that came without index is for another platform. */
export function platformWarning(name: string, config: ImageConfig, wanted: Platform): string | undefined {
  if (platformMatches(wanted, config)) return undefined;
  return `${name} is for ${formatPlatform(config)}, not ${formatPlatform(wanted)}`;
}

async function fetchManifest(
  client: RepositoryClient,
  version: string,
  digest?: string,
  expected?: Descriptor,
): Promise<FetchedDocument> {
  const where = `${endpointText(client)}${version.includes(":") ? "@" : ":"}${version}`;
  const { bytes, contentType } = await persist(client.how, where, async () => {
    const answer = await client.send({
      method: "GET",
      path: `manifests/${version}`,
      scopes: [client.pullScope],
      headers: { accept: ACCEPT },
      accept: [200],
      doing: `cannot pull ${where}`,
    });
    const type = header(answer, "content-type")?.split(";")[0]?.trim();
    const told = type === undefined || VAGUE_TYPES.includes(type) ? undefined : type;
    return { bytes: await client.document(answer, where, MAX_DOCUMENT_SIZE), contentType: told };
  });
  // Docker-Content-Digest is the server's word; what the bytes hash to is what they are.
  const found = digestOf(bytes);
  if (digest !== undefined && found !== digest) {
    throw new CooperError("corrupt", `${where}: the registry sent a manifest whose digest is ${found}`);
  }
  if (expected && expected.size !== bytes.byteLength) {
    throw new CooperError(
      "corrupt",
      `${where}: the manifest has ${bytes.byteLength} bytes, its index says ${expected.size}`,
    );
  }
  if (expected && contentType !== undefined && contentType !== expected.mediaType) {
    throw new CooperError(
      "corrupt",
      `${where}: sent as ${contentType}, its index says ${expected.mediaType}`,
    );
  }
  const document = parseManifest(bytes, contentType ?? expected?.mediaType, where);
  return {
    bytes,
    document,
    descriptor: { mediaType: document.mediaType, digest: found, size: bytes.byteLength },
  };
}

async function fetchConfig(client: RepositoryClient, config: Descriptor): Promise<Buffer> {
  const what = `config ${config.digest} of ${endpointText(client)}`;
  if (config.size > MAX_DOCUMENT_SIZE)
    throw new CooperError("corrupt", `${what}: larger than ${MAX_DOCUMENT_SIZE} bytes`);
  const bytes = await persist(client.how, what, async () => {
    const answer = await client.send({
      method: "GET",
      path: `blobs/${config.digest}`,
      scopes: [client.pullScope],
      accept: [200],
      doing: `cannot pull ${what}`,
    });
    return client.document(answer, what, config.size);
  });
  if (bytes.byteLength !== config.size)
    throw new CooperError("corrupt", `${what}: it has ${bytes.byteLength} bytes instead of ${config.size}`);
  const found = digestOf(bytes);
  if (found !== config.digest)
    throw new CooperError("corrupt", `${what}: the registry sent other bytes, with digest ${found}`);
  return bytes;
}
