import { Readable } from "node:stream";
import { CooperError } from "../errors.js";
import type { BlobSink, Descriptor } from "../image/index.js";
import { discard, header } from "./answers.js";
import type { RepositoryClient } from "./client.js";
import { endpointText } from "./client.js";
import { abortedError, networkFailure, RegistryFailure } from "./failure.js";
import { waitOrGiveUp } from "./persist.js";
import type { Meter } from "./progress.js";
import type { Answer } from "./transport.js";

/** A try that brought this much is progress: a link that breaks every 10 MB still brings a gigabyte. */
const PROGRESS_BYTES = 256 * 1024;

/**
 * Streams a blob into a sink, which checks digest and size before it believes it. A broken transfer goes on where it
 * ended if the server can (`Range`), else from the start without the bytes that the sink already has.
 */
export async function downloadBlob(
  client: RepositoryClient,
  blob: Descriptor,
  sink: BlobSink,
  meter: Meter,
): Promise<void> {
  const { signal } = client.how;
  let failure: unknown;
  const content = Readable.from(
    (async function* () {
      try {
        yield* blobBytes(client, blob, meter);
      } catch (error) {
        failure = error;
        throw error;
      }
    })(),
    { objectMode: false },
  );
  try {
    await sink.write(blob, content, signal);
  } catch (error) {
    if (signal?.aborted) throw abortedError();
    throw failure ?? error;
  } finally {
    content.destroy();
  }
  meter.finish();
}

/** The bytes of a blob over as many requests as it takes, never more than its size. */
async function* blobBytes(client: RepositoryClient, blob: Descriptor, meter: Meter): AsyncGenerator<Buffer> {
  const { how } = client;
  const doing = `cannot pull layer ${blob.digest} of ${endpointText(client)}`;
  let done = 0;
  let resumable = true;
  for (let failures = 0, tryStart = 0; ;) {
    let answer: Answer | undefined;
    try {
      tryStart = done;
      answer = await openBlob(client, blob, resumable ? done : 0, doing);
      if (answer.status === 416) {
        // This server does not honour the range that it offered: the next try reads from the start.
        resumable = false;
        await discard(answer);
        throw new RegistryFailure("network", `${doing}: the server refuses to resume`, { transient: true });
      }
      let skip = done - startOf(answer, blob, doing);
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        const fresh = chunk.subarray(Math.min(skip, chunk.byteLength));
        skip -= chunk.byteLength - fresh.byteLength;
        if (fresh.byteLength === 0) continue;
        done += fresh.byteLength;
        if (done > blob.size) throw tooLong(doing, blob);
        meter.at(done);
        yield fresh;
      }
      if (done === blob.size) return;
      throw new RegistryFailure("network", `${doing}: it ended after ${done} of ${blob.size} bytes`, {
        transient: true,
      });
    } catch (error) {
      const cause = networkFailure(error, answer?.url ?? client.link.api, how.signal);
      failures = done - tryStart >= PROGRESS_BYTES ? 1 : failures + 1;
      await waitOrGiveUp(how, `layer ${blob.digest.slice(7, 19)}`, cause, failures);
    } finally {
      answer?.body.destroy();
    }
  }
}

async function openBlob(
  client: RepositoryClient,
  blob: Descriptor,
  from: number,
  doing: string,
): Promise<Answer> {
  return client.send({
    method: "GET",
    path: `blobs/${blob.digest}`,
    scopes: [client.pullScope],
    headers: from > 0 ? { range: `bytes=${from}-` } : {},
    accept: from > 0 ? [200, 206, 416] : [200],
    doing,
  });
}

/** At which byte of the blob an answer begins. A range that makes no sense is refused: the sink's digest would fail anyway, later. */
function startOf(answer: Answer, blob: Descriptor, doing: string): number {
  if (answer.status === 206) {
    const range = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(header(answer, "content-range") ?? "");
    const total = range?.[2] === "*" ? blob.size : Number(range?.[2]);
    const start = Number(range?.[1]);
    if (range && total === blob.size && start <= blob.size) return start;
    throw new CooperError("corrupt", `${doing}: the server sent another range than we asked for`);
  }
  const length = header(answer, "content-length");
  if (length !== undefined && Number(length) !== blob.size) {
    throw new CooperError("corrupt", `${doing}: it has ${length} bytes instead of ${blob.size}`);
  }
  return 0;
}

function tooLong(doing: string, blob: Descriptor): CooperError {
  return new CooperError("corrupt", `${doing}: it has more than ${blob.size} bytes`);
}
