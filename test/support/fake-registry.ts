import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";

/** One request as it came in; a body is recorded when the fake itself reads it. */
export interface FakeRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
}

/** Sees every request first. True: it has answered (or broken the connection); false: the registry answers as usual. */
export type Script = (
  request: IncomingMessage,
  response: ServerResponse,
  log: readonly FakeRequest[],
) => boolean | Promise<boolean>;

export interface FakeRegistry extends AsyncDisposable {
  readonly host: string;
  readonly url: string;
  /** All requests in order. */
  readonly log: readonly FakeRequest[];
  readonly blobs: Map<string, Buffer>;
  /** `repository/reference` to manifest. */
  readonly manifests: Map<string, { readonly type: string; readonly bytes: Buffer }>;
  script: Script;
  /** `METHOD url` of all requests so far, for assertions. */
  lines(): readonly string[];
}

export interface FakeOptions {
  readonly script?: Script;
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Answer blob requests with Range (206); default true. */
  readonly ranges?: boolean;
}

/** A registry in memory on loopback that does what a script says, and otherwise what the distribution-spec says. */
export async function startFakeRegistry({
  script = () => false,
  tls,
  ranges = true,
}: FakeOptions = {}): Promise<FakeRegistry> {
  const log: FakeRequest[] = [];
  const blobs = new Map<string, Buffer>();
  const manifests: FakeRegistry["manifests"] = new Map();
  const state: State = { blobs, manifests, uploads: new Map(), ranges };
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    log.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    void (async () => {
      if (!(await fake.script(request, response, log))) await answer(state, request, response);
    })().catch(() => response.destroy());
  };
  const server = tls
    ? createHttpsServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key) }, handle)
    : createHttpServer(handle);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const fake: FakeRegistry = {
    host,
    url: `${tls ? "https" : "http"}://${host}`,
    log,
    blobs,
    manifests,
    script,
    lines: () => log.map(({ method, url }) => `${method} ${url}`),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return fake;
}

interface State {
  readonly blobs: Map<string, Buffer>;
  readonly manifests: FakeRegistry["manifests"];
  readonly uploads: Map<string, Buffer>;
  readonly ranges: boolean;
}

/** Answers with a status, headers and a body (objects as JSON). */
export function reply(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>> = {},
  body: Buffer | string | object = "",
): true {
  const bytes = Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  response.writeHead(status, { "content-length": bytes.byteLength, ...headers });
  response.end(bytes);
  return true;
}

/** Answers with one error of the distribution-spec. */
export function replyError(
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): true {
  return reply(
    response,
    status,
    { "content-type": "application/json", ...headers },
    { errors: [{ code, message }] },
  );
}

/** Reads a request's body to its end. */
export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** `sha256:…` of bytes. */
export function sha256(bytes: Buffer | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

async function answer(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://fake");
  const [, repository = "", kind = "", rest = ""] =
    /^\/v2\/(.*)\/(manifests|blobs\/uploads|blobs)\/(.*)$/.exec(url.pathname) ?? [];
  if (url.pathname === "/v2/") reply(response, 200);
  else if (kind === "manifests")
    await answerManifest(state, `${repository}/${rest}`, repository, request, response);
  else if (kind === "blobs") answerBlob(state, rest, request, response);
  else if (kind === "blobs/uploads") await answerUpload(state, repository, rest, url, request, response);
  else replyError(response, 404, "NOT_FOUND", "no such thing");
}

async function answerManifest(
  state: State,
  key: string,
  repository: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method === "PUT") {
    const bytes = await bodyOf(request);
    const manifest = { type: request.headers["content-type"] ?? "", bytes };
    state.manifests.set(key, manifest).set(`${repository}/${sha256(bytes)}`, manifest);
    reply(response, 201, { "docker-content-digest": sha256(bytes) });
    return;
  }
  const found = state.manifests.get(key);
  if (found)
    reply(
      response,
      200,
      { "content-type": found.type, "docker-content-digest": sha256(found.bytes) },
      request.method === "HEAD" ? "" : found.bytes,
    );
  else replyError(response, 404, "MANIFEST_UNKNOWN", "manifest unknown");
}

function answerBlob(
  { blobs, ranges }: State,
  digest: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const bytes = blobs.get(digest);
  if (!bytes) {
    replyError(response, 404, "BLOB_UNKNOWN", "blob unknown to registry");
    return;
  }
  if (request.method === "HEAD") {
    response.writeHead(200, { "content-length": bytes.byteLength });
    response.end();
    return;
  }
  const range = ranges ? /^bytes=(\d+)-$/.exec(request.headers.range ?? "") : null;
  const start = Number(range?.[1] ?? 0);
  const headers = range
    ? { "content-range": `bytes ${start}-${bytes.byteLength - 1}/${bytes.byteLength}` }
    : {};
  reply(response, range ? 206 : 200, headers, bytes.subarray(start));
}

async function answerUpload(
  state: State,
  repository: string,
  id: string,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method === "POST") {
    const mounted = url.searchParams.get("mount");
    if (mounted !== null && state.blobs.has(mounted)) {
      reply(response, 201, { "docker-content-digest": mounted });
      return;
    }
    const session = `u${state.uploads.size + 1}`;
    state.uploads.set(session, Buffer.alloc(0));
    reply(response, 202, { location: `/v2/${repository}/blobs/uploads/${session}?state=a%2Fb` });
    return;
  }
  const sent = state.uploads.get(id);
  if (sent === undefined) {
    replyError(response, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    return;
  }
  const bytes = Buffer.concat([sent, await bodyOf(request)]);
  state.uploads.set(id, bytes);
  if (request.method === "PATCH") {
    reply(response, 202, {
      location: `/v2/${repository}/blobs/uploads/${id}?state=a%2Fb`,
      range: `0-${bytes.byteLength - 1}`,
    });
    return;
  }
  const digest = url.searchParams.get("digest") ?? "";
  if (sha256(bytes) !== digest) {
    replyError(response, 400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    return;
  }
  state.uploads.delete(id);
  state.blobs.set(digest, bytes);
  reply(response, 201, { "docker-content-digest": digest });
}
