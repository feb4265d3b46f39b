import { CooperError } from "../errors.js";
import { monotonicMs } from "../fs/index.js";
import type { BlobSource, Descriptor } from "../image/index.js";
import { shownUrl } from "../net/index.js";
import { discard, header } from "./answers.js";
import { checkReferred, endpointText } from "./client.js";
import type { RepositoryClient } from "./client.js";
import { abortedError, RegistryFailure, statusOf } from "./failure.js";
import { persist, waitOrGiveUp } from "./persist.js";
import type { Meter } from "./progress.js";
import type { Answer } from "./transport.js";

export interface BlobUpload {
  readonly blob: Descriptor;
  readonly kind: "layer" | "config";
  readonly source: BlobSource;
  /** Another repository of this registry that has the blob and that we may read. */
  readonly mountFrom: string | undefined;
  readonly meter: Meter;
}

/** How often one blob starts anew at once because the registry forgot the upload or let the token expire. */
const MAX_RESTARTS = 2;

/**
 * Brings one blob into a repository: nothing if it is there, a mount if another repository has it, else an upload of
 * one POST, one streaming PATCH and an empty PUT (Artifactory refuses the shorter form). Each failed try starts the blob anew.
 */
export async function uploadBlob(client: RepositoryClient, upload: BlobUpload): Promise<void> {
  const doing = `cannot push ${upload.kind} ${upload.blob.digest} to ${endpointText(client)}`;
  let restarts = 0;
  let mountFrom = upload.mountFrom;
  for (let failures = 0; ;) {
    try {
      if (await hasBlob(client, upload.blob, doing)) return upload.meter.skip();
      const started = await startUpload(client, upload.blob, mountFrom, doing);
      mountFrom = undefined;
      if (started === "mounted") return upload.meter.skip();
      await sendBlob(client, upload, started, doing);
      await confirm(client, upload.blob, doing);
      return upload.meter.finish();
    } catch (error) {
      if (restarts < MAX_RESTARTS && isLostUpload(error)) {
        restarts += 1;
        continue;
      }
      failures += 1;
      await waitOrGiveUp(client.how, `${upload.kind} ${upload.blob.digest.slice(7, 19)}`, error, failures);
    }
  }
}

/** Raised by a PATCH or PUT whose session or token is gone: a new session may do. */
class LostUpload extends RegistryFailure {}

function isLostUpload(error: unknown): boolean {
  return error instanceof LostUpload;
}

/** Whether the repository has a blob; false when it does not say. */
async function hasBlob(client: RepositoryClient, blob: Descriptor, doing: string): Promise<boolean> {
  const answer = await client.send({
    method: "HEAD",
    path: `blobs/${blob.digest}`,
    scopes: [client.pushScope],
    accept: [200, 404, 400, 403, 405],
    doing,
  });
  await discard(answer);
  const length = header(answer, "content-length");
  return answer.status === 200 && (length === undefined || Number(length) === blob.size);
}

/** Opens an upload session, or mounts the blob. A registry that cannot mount opens a session, or fails: then we ask for a plain one. */
async function startUpload(
  client: RepositoryClient,
  blob: Descriptor,
  mountFrom: string | undefined,
  doing: string,
): Promise<URL | "mounted"> {
  const post = (query: string, scopes: readonly string[]) =>
    client.send({
      method: "POST",
      path: new URL(`${client.repository}/blobs/uploads/${query}`, client.link.api),
      scopes,
      headers: { "content-length": "0" },
      accept: [201, 202],
      doing,
    });
  if (mountFrom !== undefined) {
    const query = new URLSearchParams({ mount: blob.digest, from: mountFrom });
    // The new scope goes first: some servers read only one.
    const scopes = [`repository:${mountFrom}:pull`, client.pushScope];
    try {
      const answer = await post(`?${query.toString()}`, scopes);
      await discard(answer);
      return answer.status === 201 ? "mounted" : locationOf(answer, answer.url, client, doing);
    } catch (error) {
      if (error instanceof CooperError && error.code === "aborted") throw error;
    }
  }
  const answer = await post("", [client.pushScope]);
  await discard(answer);
  if (answer.status === 201)
    throw new CooperError("registry", `${doing}: the registry answered 201 to an upload that has not begun`);
  return locationOf(answer, answer.url, client, doing);
}

/** The next URL of an upload, checked: it may be relative, have a query, and stand on another host, but not just anywhere. */
function locationOf(answer: Answer, from: URL, client: RepositoryClient, doing: string): URL {
  const location = header(answer, "location");
  if (location === undefined || location === "" || !URL.canParse(location, from.href)) {
    throw new CooperError("registry", `${doing}: the registry sent no upload Location (${shownUrl(from)})`);
  }
  const url = new URL(location, from);
  checkReferred(url, client.link.api, doing);
  return url;
}

async function sendBlob(
  client: RepositoryClient,
  upload: BlobUpload,
  session: URL,
  doing: string,
): Promise<void> {
  const { blob } = upload;
  const stream = openUploadStream(client, upload, doing);
  let next: URL;
  try {
    const answer = await client.send({
      method: "PATCH",
      path: session,
      scopes: [client.pushScope],
      headers: { "content-type": "application/octet-stream", "content-length": String(blob.size) },
      body: stream.bytes,
      signal: stream.signal,
      answerMs: client.transport.timings.commitMs,
      accept: [202, 201, 204],
      doing,
    });
    await discard(answer);
    next = header(answer, "location") === undefined ? session : locationOf(answer, session, client, doing);
  } catch (error) {
    throw stream.failure() ?? lost(error);
  } finally {
    stream.close();
  }
  // Not through searchParams: they would write the rest of the query anew, and it may be signed.
  next.search = `${next.search === "" ? "?" : `${next.search}&`}digest=${encodeURIComponent(blob.digest)}`;
  await commitBlob(client, blob, next, doing);
}

async function commitBlob(
  client: RepositoryClient,
  blob: Descriptor,
  url: URL,
  doing: string,
): Promise<void> {
  try {
    const answer = await client.send({
      method: "PUT",
      path: url,
      scopes: [client.pushScope],
      headers: { "content-length": "0", "content-type": "application/octet-stream" },
      answerMs: client.transport.timings.commitMs,
      accept: [201, 204],
      doing,
    });
    await discard(answer);
    const told = header(answer, "docker-content-digest");
    if (told !== undefined && told !== blob.digest) {
      throw new CooperError("corrupt", `${doing}: the registry stored it as ${told.slice(0, 100)}`);
    }
  } catch (error) {
    throw lost(error);
  }
}

/** A session that is unknown (404, 416) or a token that ran out on the way (401) is worth a new session, at once. */
function lost(error: unknown): unknown {
  const status = statusOf(error);
  if (!(error instanceof RegistryFailure) || (status !== 401 && status !== 404 && status !== 416))
    return error;
  return new LostUpload(error.code, error.message, {
    status,
    registryCodes: error.registryCodes,
    ...(error.hint ? { hint: error.hint } : {}),
  });
}

/** The manifest goes up only after every blob was seen: a registry may confirm what it then does not have. */
async function confirm(client: RepositoryClient, blob: Descriptor, doing: string): Promise<void> {
  await persist(client.how, `confirmation of ${blob.digest.slice(7, 19)}`, async () => {
    const answer = await client.send({
      method: "HEAD",
      path: `blobs/${blob.digest}`,
      scopes: [client.pushScope],
      accept: [200, 404, 400, 403, 405],
      doing,
    });
    await discard(answer);
    const missing = answer.status === 404;
    if (missing)
      throw new RegistryFailure("registry", `${doing}: the registry accepted it, but does not have it`, {
        transient: true,
      });
  });
}

interface UploadStream {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Ends the request when the caller aborts or the server takes nothing any more. */
  readonly signal: AbortSignal;
  /** What ended the stream from our side: the source, or a server that takes nothing. */
  failure(): Error | undefined;
  close(): void;
}

/** A blob's bytes as a request body, watched: a server that stops taking them must not hold us for ever. */
function openUploadStream(
  client: RepositoryClient,
  { source, blob, meter }: BlobUpload,
  doing: string,
): UploadStream {
  const { stallMs } = client.transport.timings;
  const stalled = new AbortController();
  const content = source.read(blob);
  let failure: Error | undefined;
  let lastMove = monotonicMs();
  let finished = false;
  const watch = setInterval(
    () => {
      if (finished || monotonicMs() - lastMove < stallMs) return;
      failure = new RegistryFailure("network", `${doing}: the registry stopped taking bytes`, {
        transient: true,
      });
      stalled.abort();
    },
    Math.min(1000, stallMs / 2),
  );
  // Without a listener an error after the request's end would end the process.
  content.on("error", () => undefined);
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    let done = 0;
    try {
      for await (const chunk of content as AsyncIterable<Uint8Array>) {
        lastMove = monotonicMs();
        yield chunk;
        done += chunk.byteLength;
        meter.at(done);
      }
    } catch (error) {
      failure ??= client.how.signal?.aborted
        ? abortedError()
        : error instanceof Error
          ? error
          : new Error(String(error));
      throw error;
    } finally {
      finished = true;
    }
  };
  return {
    bytes: bytes(),
    signal: client.how.signal ? AbortSignal.any([client.how.signal, stalled.signal]) : stalled.signal,
    failure: () => failure,
    close: () => {
      clearInterval(watch);
      content.destroy();
    },
  };
}
