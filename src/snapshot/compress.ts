import { Readable } from "node:stream";
import { CooperError, unreachable } from "../errors.js";
import { mediaTypes } from "../image/index.js";
import type { Compression, Descriptor, DiffId } from "../image/index.js";
import { gzip } from "./gzip.js";
import { zstdOf } from "./layer-stream.js";
import type { Layers } from "./layers.js";

/** Makes and stores the layer's blob in one compression. Throws `unsupported` for zstd that this Node lacks, `no-space`, `io`, `aborted`. */
export async function makeBlob(
  layers: Layers,
  diffId: DiffId,
  compression: Compression,
  signal: AbortSignal | undefined,
): Promise<Descriptor> {
  const [mediaType, content] = encoded(layers, diffId, compression);
  const descriptor = await layers.home.addBlob(mediaType, content, signal);
  layers.home.rememberBlob(diffId, descriptor, layers.facts(diffId));
  return descriptor;
}

function encoded(
  layers: Layers,
  diffId: DiffId,
  compression: Compression,
): readonly [mediaType: string, content: Readable] {
  const bytes = layers.bytes(diffId);
  switch (compression) {
    case "none":
      return [mediaTypes.ociLayer, readable(bytes)];
    case "gzip":
      return [mediaTypes.ociLayerGzip, readable(gzip(bytes))];
    case "zstd":
      return [mediaTypes.ociLayerZstd, zstd(readable(bytes))];
    default:
      return unreachable(compression);
  }
}

/** A generator's chunks as a stream of bytes; destroying it ends the generator. */
export function readable(chunks: AsyncGenerator<Buffer, void>): Readable {
  return Readable.from(chunks, { objectMode: false });
}

function zstd(source: Readable): Readable {
  const make = zstdOf().createZstdCompress;
  if (!make) {
    source.destroy();
    throw new CooperError("unsupported", "zstd layers need Node 22.15 or newer");
  }
  const out = make({});
  source.once("error", (error) => out.destroy(error));
  out.once("close", () => source.destroy());
  return source.pipe(out);
}
