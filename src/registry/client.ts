import { CooperError } from "../errors.js";
import { isLoopbackHost, shownUrl } from "../net/index.js";
import { answerFailure, discard, header, readDocument } from "./answers.js";
import type { Credential } from "./auth-file.js";
import { openAuthorizer, strangerTo } from "./authorizer.js";
import type { Authorizer } from "./authorizer.js";
import { parseChallenges } from "./challenge.js";
import type { Challenge } from "./challenge.js";
import { isCertificateError, RegistryFailure } from "./failure.js";
import { apiUrl } from "./names.js";
import type { Persistence } from "./persist.js";
import { persist } from "./persist.js";
import type { Secrets } from "./secrets.js";
import type { Answer, Peer, Transport, WireRequest } from "./transport.js";

/** A registry that answered a ping: where its API is and what it asks for. */
export interface Link {
  readonly host: string;
  readonly api: URL;
  readonly peer: Peer;
  readonly challenges: readonly Challenge[];
}

/**
 * How strictly a registry is spoken to (hazard R11):
 * `any` TLS with any certificate, then plain HTTP; only after --tls-verify=false or `insecure = true` for this host.
 * `loopback` TLS with verification, then plain HTTP if it does not speak TLS at all; only for a literal loopback address.
 * `strict` TLS with verification.
 */
export type Strictness = "any" | "loopback" | "strict";

/** The rule above. An explicit --tls-verify=true beats all else. */
export function strictnessFor(host: string, tlsVerify: boolean | undefined, insecure: boolean): Strictness {
  if (tlsVerify === false || (tlsVerify === undefined && insecure)) return "any";
  return tlsVerify === undefined && isLoopbackHost(host) ? "loopback" : "strict";
}

/** Pings `/v2/` to learn scheme and challenges. Throws `network`. */
export async function pingRegistry(
  transport: Transport,
  host: string,
  peer: Peer,
  strictness: Strictness,
  how: Persistence,
): Promise<Link> {
  const ping = async (api: URL): Promise<Link> => {
    const answer = await transport.send({ method: "GET", url: api, headers: {}, peer, signal: how.signal });
    await discard(answer);
    const transient = answer.status === 429 || answer.status >= 500;
    if (transient)
      throw new RegistryFailure("registry", `${shownUrl(api)}: answered ${answer.status}`, {
        status: answer.status,
        transient,
      });
    return { host, api, peer, challenges: parseChallenges(answer.headers["www-authenticate"]) };
  };
  return persist(how, host, async () => {
    try {
      return await ping(apiUrl("https", host));
    } catch (error) {
      const unreachable =
        error instanceof RegistryFailure && error.code === "network" && !isCertificateError(error);
      if (strictness === "strict" || !unreachable) throw error;
      return await ping(apiUrl("http", host)).catch((second: unknown) => {
        // Refused on both: the first error is about the port that the user means.
        throw second instanceof CooperError && second.code === "aborted" ? second : error;
      });
    }
  });
}

/** A request below `/v2/REPOSITORY/`, or to a whole URL that the registry gave. */
export interface ApiRequest {
  readonly method: WireRequest["method"];
  readonly path: string | URL;
  readonly scopes: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** A stream can be sent once: a 401 then ends the request instead of repeating it. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly answerMs?: number;
  /** Instead of the client's own. */
  readonly signal?: AbortSignal;
  /** Statuses that are an answer; any other is thrown as a RegistryFailure. */
  readonly accept: readonly number[];
  /** Begins the message of a failure. */
  readonly doing: string;
}

/** One repository of one registry, seen with one credential. */
export interface RepositoryClient {
  readonly link: Link;
  readonly repository: string;
  readonly how: Persistence;
  readonly transport: Transport;
  readonly credential: Credential | undefined;
  /** `repository:NAME:pull`, or with push. */
  readonly pullScope: string;
  readonly pushScope: string;
  /** Gets what requests with these scopes need. Throws `auth`, `denied`, `registry`, `network`. */
  authorize(scopes: readonly string[]): Promise<void>;
  /** One request with authorization, renewed once after a 401, and redirects; no retries. The caller reads or discards the body. */
  send(request: ApiRequest): Promise<Answer>;
  /** A whole small body of an accepted answer. */
  document(answer: Answer, what: string, maxBytes: number): Promise<Buffer>;
}

export interface ClientOptions {
  readonly link: Link;
  readonly repository: string;
  readonly credential: Credential | undefined;
  readonly authorizer: Authorizer;
  readonly transport: Transport;
  readonly secrets: Secrets;
  readonly how: Persistence;
}

export function openClient(options: ClientOptions): RepositoryClient {
  const { link, repository, transport, how, authorizer, secrets } = options;

  const send = async (request: ApiRequest): Promise<Answer> => {
    const url =
      typeof request.path === "string" ? new URL(`${repository}/${request.path}`, link.api) : request.path;
    let used: string | undefined;
    for (let attempt = 0; ; attempt += 1) {
      const foreign = url.origin !== link.api.origin;
      used = foreign ? undefined : await authorizer.header(request.scopes, how);
      const answer = await follow(options, request, url, used);
      if (request.accept.includes(answer.status)) return answer;
      const asked = answer.status === 401 && answer.url.origin === link.api.origin;
      const again =
        asked &&
        authorizer.refused(parseChallenges(answer.headers["www-authenticate"]), request.scopes, used);
      const replayable = request.body === undefined || request.body instanceof Uint8Array;
      if (again && attempt === 0 && replayable) {
        await discard(answer);
        continue;
      }
      throw await answerFailure(answer, {
        doing: request.doing,
        method: request.method,
        secrets,
        deadlineMs: transport.timings.documentMs,
        authenticated: authorizer.hasCredential,
      });
    }
  };

  return {
    link,
    repository,
    how,
    transport,
    credential: options.credential,
    pullScope: `repository:${repository}:pull`,
    pushScope: `repository:${repository}:pull,push`,
    authorize: async (scopes) => void (await authorizer.header(scopes, how)),
    send,
    document: (answer, what, maxBytes) =>
      readDocument(answer, { what, maxBytes, deadlineMs: transport.timings.documentMs, signal: how.signal }),
  };
}

const MAX_REDIRECTS = 5;

/** Sends and follows redirects of GET and HEAD. `Authorization` goes to the registry's own origin only. */
async function follow(
  options: ClientOptions,
  request: ApiRequest,
  start: URL,
  authorization: string | undefined,
): Promise<Answer> {
  const { link, transport, how } = options;
  const followable = request.method === "GET" || request.method === "HEAD";
  let url = start;
  let authorized = authorization;
  for (let hops = 0; ; hops += 1) {
    const answer = await transport.send({
      method: request.method,
      url,
      headers: { ...request.headers, ...(authorized === undefined ? {} : { authorization: authorized }) },
      ...(request.body === undefined ? {} : { body: request.body }),
      ...(request.answerMs === undefined ? {} : { answerMs: request.answerMs }),
      ...trustFor(options, url, followable ? "redirect" : "upload"),
      signal: request.signal ?? how.signal,
    });
    if (!followable || ![301, 302, 303, 307, 308].includes(answer.status)) return answer;
    const target = redirectTarget(answer, request.doing);
    await discard(answer);
    if (hops >= MAX_REDIRECTS)
      throw new CooperError(
        "registry",
        `${request.doing}: more than ${MAX_REDIRECTS} redirects (${shownUrl(start)})`,
      );
    // Once away from the registry, not even a redirect back brings the credentials back.
    if (target.origin !== link.api.origin) authorized = undefined;
    url = target;
  }
}

/** Whom to believe at a URL: the registry itself, or a stranger that it names. */
function trustFor(
  { link, transport }: ClientOptions,
  url: URL,
  purpose: "redirect" | "upload",
): Pick<WireRequest, "peer" | "guard"> {
  if (url.host === link.api.host) return { peer: link.peer };
  return { peer: strangerTo(link.peer), guard: { from: transport.reach(link.api), purpose } };
}

function redirectTarget(answer: Answer, doing: string): URL {
  const location = header(answer, "location");
  if (location === undefined || !URL.canParse(location, answer.url.href)) {
    throw new CooperError(
      "registry",
      `${doing}: a redirect without usable Location (${shownUrl(answer.url)})`,
    );
  }
  const target = new URL(location, answer.url);
  checkReferred(target, answer.url, doing);
  return target;
}

/** Refuses what no registry may refer to, whatever the host: other schemes, TLS to plain HTTP, URLs with a user name. */
export function checkReferred(target: URL, from: URL, doing: string): void {
  const refuse = (why: string, hint?: string) =>
    new CooperError(
      "registry",
      `${doing}: refused to go to ${shownUrl(target)}: ${why}`,
      hint === undefined ? {} : { hint },
    );
  if (target.protocol !== "https:" && target.protocol !== "http:") throw refuse("it is no http or https URL");
  if (target.username !== "" || target.password !== "") throw refuse("it holds a user name");
  if (from.protocol === "https:" && target.protocol === "http:") {
    const proxied = target.hostname === from.hostname;
    throw refuse(
      "from TLS to plain HTTP",
      proxied ? "a proxy before the registry does not set X-Forwarded-Proto" : undefined,
    );
  }
}

/** Checks a credential against the registry; used by login. Throws `auth`, or what else went wrong. */
export async function checkCredential(options: Omit<ClientOptions, "repository">): Promise<void> {
  const client = openClient({ ...options, repository: "" });
  const answer = await persist(options.how, options.link.host, () =>
    client.send({
      method: "GET",
      path: options.link.api,
      scopes: [],
      accept: [200],
      doing: `cannot log in to ${options.link.host}`,
    }),
  );
  await discard(answer);
}

/** An authorizer for a link and credential. */
export function authorizerFor(
  link: Link,
  credential: Credential | undefined,
  transport: Transport,
  secrets: Secrets,
): Authorizer {
  const { api, host, peer, challenges } = link;
  return openAuthorizer({ api, host, peer, challenges, credential, transport, secrets });
}

/** `host/repository`, for messages. */
export function endpointText({ link, repository }: RepositoryClient): string {
  return `${link.host}/${repository}`;
}
