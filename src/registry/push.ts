import type PQueue from "p-queue";
import { CooperError } from "../errors.js";
import type { EventListener } from "../events.js";
import { digestOf, isDigest, mediaTypes } from "../image/index.js";
import type { Descriptor, FullReference, Manifest } from "../image/index.js";
import { discard, header } from "./answers.js";
import type { RepositoryClient } from "./client.js";
import { endpointText } from "./client.js";
import { abortedError } from "./failure.js";
import { persist } from "./persist.js";
import { openMeter } from "./progress.js";
import type { PushImage } from "./types.js";
import { uploadBlob } from "./upload.js";

export interface PushContext {
  readonly client: RepositoryClient;
  readonly queue: PQueue;
  readonly onEvent: EventListener | undefined;
  /** Whether a repository of the same registry was used by this process with the same credential. */
  readonly mayMountFrom: (repository: string) => boolean;
  /** Ends every request of this push. */
  readonly cancel: () => void;
}

/** Layers, then config, then manifest. Nothing is asked of the registry before the manifest is known to be sound. */
export async function pushImage(
  context: PushContext,
  image: PushImage,
  destination: FullReference,
): Promise<Descriptor> {
  const { client, onEvent } = context;
  const descriptor = checkedManifest(image, destination);
  // Once, before four uploads ask at the same time: a wrong password must not count four times.
  await client.authorize([client.pushScope]);
  await uploadLayers(context, image);
  await uploadOne(context, image, image.manifest.config, "config");
  const meter = openMeter(onEvent, "manifest", descriptor);
  await putManifest(client, image.manifestBytes, descriptor, destination.tag ?? descriptor.digest);
  meter.finish();
  return descriptor;
}

function checkedManifest({ manifest, manifestBytes }: PushImage, destination: FullReference): Descriptor {
  const { mediaType } = manifest;
  const descriptor = { mediaType, digest: digestOf(manifestBytes), size: manifestBytes.byteLength };
  if (destination.digest !== undefined && destination.digest !== descriptor.digest) {
    throw new CooperError(
      "usage",
      `cannot push under ${destination.digest}: the image's digest is ${descriptor.digest}`,
    );
  }
  const foreigner = foreignMediaType(manifest);
  if (foreigner !== undefined) {
    throw new CooperError(
      "unsupported",
      `cannot push an image that mixes docker and OCI media types: ${foreigner} in ${mediaType}`,
    );
  }
  return descriptor;
}

/** A media type of the other family: registries refuse such images with errors that name nothing. */
function foreignMediaType({ mediaType, config, layers }: Manifest): string | undefined {
  const docker = mediaType === mediaTypes.dockerManifest;
  const families = [config, ...layers].map((blob) => blob.mediaType);
  return families.find((type) =>
    type.startsWith(docker ? "application/vnd.oci." : "application/vnd.docker."),
  );
}

/** Layers that their makers forbid to copy stay where they are. Source: OCI image-spec layer.md "Non-Distributable Layers". */
function isDistributable({ mediaType }: Descriptor): boolean {
  return !/\.nondistributable\.|\.foreign\./.test(mediaType);
}

async function uploadLayers(context: PushContext, image: PushImage): Promise<void> {
  // One upload per blob, however often the image stacks it.
  const layers = new Map(image.manifest.layers.filter(isDistributable).map((layer) => [layer.digest, layer]));
  const failures: unknown[] = [];
  const uploads = [...layers.values()].map((layer) =>
    uploadOne(context, image, layer, "layer").catch((error: unknown) => {
      failures.push(error);
      context.cancel();
    }),
  );
  // All end before the first error is told: a caller that sees it may close what the others still use.
  await Promise.all(uploads);
  if (failures.length > 0) throw failures[0];
}

async function uploadOne(
  context: PushContext,
  image: PushImage,
  blob: Descriptor,
  kind: "layer" | "config",
): Promise<void> {
  const { client, queue, onEvent, mayMountFrom } = context;
  const candidate = kind === "layer" ? image.mountFrom?.(blob) : undefined;
  const mountFrom =
    candidate !== undefined && candidate !== client.repository && mayMountFrom(candidate)
      ? candidate
      : undefined;
  const meter = openMeter(onEvent, kind, blob);
  await queue.add(async () => {
    if (client.how.signal?.aborted) throw abortedError();
    await uploadBlob(client, { blob, kind, source: image.blobs, mountFrom, meter });
  });
}

async function putManifest(
  client: RepositoryClient,
  bytes: Uint8Array,
  descriptor: Descriptor,
  version: string,
): Promise<void> {
  const where = `${endpointText(client)}${isDigest(version) ? "@" : ":"}${version}`;
  await persist(client.how, where, async () => {
    const answer = await client.send({
      method: "PUT",
      path: `manifests/${version}`,
      scopes: [client.pushScope],
      headers: { "content-type": descriptor.mediaType, "content-length": String(bytes.byteLength) },
      body: bytes,
      answerMs: client.transport.timings.commitMs,
      accept: [200, 201, 202, 204],
      doing: `cannot push manifest ${where}`,
    });
    await discard(answer);
    const told = header(answer, "docker-content-digest");
    if (told !== undefined && told !== descriptor.digest) {
      throw new CooperError(
        "corrupt",
        `cannot push manifest ${where}: the registry stored it as ${told.slice(0, 100)}, not ${descriptor.digest}`,
      );
    }
  });
}
