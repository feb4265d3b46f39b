import { CooperError } from "../errors.js";
import { shownUrl } from "../net/index.js";
import { answerFailure, readDocument } from "./answers.js";
import type { Credential } from "./auth-file.js";
import type { Challenge } from "./challenge.js";
import { RegistryFailure, statusOf } from "./failure.js";
import type { Persistence } from "./persist.js";
import { persist } from "./persist.js";
import type { Secrets } from "./secrets.js";
import type { Answer, Peer, Transport, WireRequest } from "./transport.js";

/** Gives requests to one registry their `Authorization`, for one credential. */
export interface Authorizer {
  /** The header for a set of scopes (`repository:NAME:pull`), new if it would expire during a request's start. */
  header(scopes: readonly string[], how: Persistence): Promise<string | undefined>;
  /** Takes in a 401: its challenges, and that `used` was not accepted. False: another try would end the same. */
  refused(challenges: readonly Challenge[], scopes: readonly string[], used: string | undefined): boolean;
  readonly hasCredential: boolean;
}

export interface AuthorizerOptions {
  /** Base URL of the registry's API. */
  readonly api: URL;
  readonly host: string;
  readonly credential: Credential | undefined;
  readonly peer: Peer;
  readonly transport: Transport;
  readonly secrets: Secrets;
  readonly challenges: readonly Challenge[];
}

interface Token {
  readonly header: string;
  /** On the monotonic clock, ms: no jump of the wall clock makes a token live longer. */
  readonly renewAt: number;
}

type BearerChallenge = Extract<Challenge, { scheme: "bearer" }>;
const MAX_TOKEN_BYTES = 1024 * 1024;
// Source: distribution token specification: a token without expires_in lives a minute.
const DEFAULT_LIFE_S = 60;
const LONGEST_MARGIN_MS = 30_000;

/** An Authorizer that starts from the challenges of a ping. */
export function openAuthorizer(options: AuthorizerOptions): Authorizer {
  const { credential, secrets } = options;
  const tokens = new Map<string, Promise<Token>>();
  let challenge = choose(options.challenges);
  if (credential) secrets.add(credential.password, credential.identityToken, basicOf(credential));

  const token = async (
    scopes: readonly string[],
    how: Persistence,
    bearer: BearerChallenge,
  ): Promise<Token> => {
    const key = scopes.join(" ");
    const pending = tokens.get(key);
    // Somebody else's failure (it may have been cancelled) is not ours.
    const known = await pending?.catch(() => undefined);
    if (known && performance.now() < known.renewAt) return known;
    // Another waiter may have begun a new one meanwhile.
    const current = tokens.get(key);
    if (current !== undefined && current !== pending) return current;
    const fetched = persist(how, `token for ${options.host}`, () => fetchToken(options, bearer, scopes, how));
    tokens.set(key, fetched);
    fetched.catch(() => tokens.delete(key));
    return fetched;
  };

  return {
    hasCredential: credential !== undefined,
    header: async (scopes, how) => {
      if (challenge?.scheme === "bearer") return (await token(scopes, how, challenge)).header;
      const usable =
        challenge !== undefined && credential !== undefined && credential.identityToken === undefined;
      return usable ? `Basic ${basicOf(credential)}` : undefined;
    },
    refused: (challenges, scopes, used) => {
      const before = challenge;
      challenge = choose(challenges) ?? challenge;
      if (challenge?.scheme === "bearer") {
        tokens.delete(scopes.join(" "));
        return true;
      }
      return (
        challenge !== undefined &&
        credential !== undefined &&
        (used === undefined || before?.scheme !== challenge.scheme)
      );
    },
  };
}

function choose(challenges: readonly Challenge[]): Challenge | undefined {
  return challenges.find(({ scheme }) => scheme === "bearer") ?? challenges[0];
}

function basicOf({ username, password, identityToken }: Credential): string {
  return Buffer.from(`${username}:${identityToken ?? password}`).toString("base64");
}

/** Source: distribution token specification (GET) and its OAuth2 form (POST, for identity tokens). */
async function fetchToken(
  options: AuthorizerOptions,
  bearer: BearerChallenge,
  scopes: readonly string[],
  how: Persistence,
): Promise<Token> {
  const { credential, transport, secrets, host } = options;
  const realm = tokenServer(options, bearer.realm);
  const started = performance.now();
  const wire = guarded(options, realm, how);
  let answer = credential?.identityToken
    ? await transport.send(oauthRequest(wire, bearer, scopes, credential.identityToken))
    : await transport.send(tokenRequest(wire, bearer, scopes, credential));
  if (credential?.identityToken && (answer.status === 404 || answer.status === 405)) {
    answer.body.destroy();
    answer = await transport.send(tokenRequest(wire, bearer, scopes, credential));
  }
  if (answer.status !== 200) throw await tokenRefused(options, answer);
  const what = `token from ${shownUrl(realm)}`;
  const deadlineMs = transport.timings.documentMs;
  const body = await readDocument(answer, {
    what,
    maxBytes: MAX_TOKEN_BYTES,
    deadlineMs,
    signal: how.signal,
  });
  const { text, lifeMs } = parseToken(body, what);
  secrets.add(text);
  const renewAt = started + lifeMs - Math.min(LONGEST_MARGIN_MS, lifeMs / 4);
  if (text.length > 32 * 1024) throw new CooperError("registry", `${host}: the token is too long to be sent`);
  return { header: `Bearer ${text}`, renewAt };
}

/** Checks where a registry sends us for a token before anything is sent there. Throws `registry`, naming the realm. */
function tokenServer({ api, host }: AuthorizerOptions, realm: string | undefined): URL {
  const refuse = (why: string) =>
    new CooperError(
      "registry",
      `refused: ${host} asks for a token from ${JSON.stringify(shownRealm(realm))}: ${why}`,
    );
  if (realm === undefined || realm === "") throw refuse("there is no realm");
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:"))
    throw refuse("it is no http or https URL");
  if (url.username !== "" || url.password !== "") throw refuse("it holds a user name");
  if (url.protocol === "http:" && api.protocol === "https:")
    throw refuse("plain HTTP, while the registry itself uses TLS");
  return url;
}

function shownRealm(realm: string | undefined): string {
  return (realm ?? "").replace(/[?#].*$/s, "").slice(0, 200);
}

function guarded(
  { api, peer, transport }: AuthorizerOptions,
  url: URL,
  how: Persistence,
): Omit<WireRequest, "method" | "headers"> {
  const base = { url, peer, signal: how.signal };
  if (url.host === api.host) return base;
  const foreign: Peer = strangerTo(peer);
  return { ...base, peer: foreign, guard: { from: transport.reach(api), purpose: "token" } };
}

const strangers = new WeakMap<Peer, Peer>();

/** How to talk to a server that a registry refers to: its authorities, but never the client's certificate. */
export function strangerTo(peer: Peer): Peer {
  const known = strangers.get(peer);
  if (known) return known;
  const made: Peer = { material: { ca: peer.material.ca }, anyCertificate: peer.anyCertificate };
  strangers.set(peer, made);
  return made;
}

type Unsent = Omit<WireRequest, "method" | "headers">;

function tokenRequest(
  wire: Unsent,
  { service }: BearerChallenge,
  scopes: readonly string[],
  credential: Credential | undefined,
): WireRequest {
  const url = new URL(wire.url);
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  if (credential?.username) url.searchParams.set("account", credential.username);
  const headers: Record<string, string> = credential ? { authorization: `Basic ${basicOf(credential)}` } : {};
  return { ...wire, url, method: "GET", headers };
}

function oauthRequest(
  wire: Unsent,
  { service }: BearerChallenge,
  scopes: readonly string[],
  identityToken: string,
): WireRequest {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: identityToken,
    client_id: "cooper",
  });
  if (service !== undefined) form.set("service", service);
  if (scopes.length > 0) form.set("scope", scopes.join(" "));
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  return { ...wire, method: "POST", headers, body: Buffer.from(form.toString()) };
}

async function tokenRefused(
  { credential, host, secrets, transport }: AuthorizerOptions,
  answer: Answer,
): Promise<RegistryFailure> {
  const redirected = answer.status >= 300 && answer.status < 400;
  const who = credential
    ? credential.username === ""
      ? "the identity token"
      : `user ${credential.username}`
    : "anonymous access";
  const doing = redirected ? `${host}: token servers may not redirect` : `${host}: no token for ${who}`;
  const deadlineMs = transport.timings.documentMs;
  const context = { doing, method: "GET", secrets, deadlineMs, authenticated: credential !== undefined };
  const failure = await answerFailure(answer, context);
  // 400 is what OAuth2 servers say to a refresh token that has expired.
  if (statusOf(failure) !== 400 && statusOf(failure) !== 403) return failure;
  const hint = failure.hint ?? "the credentials are wrong or have expired";
  return new RegistryFailure("auth", failure.message, { status: answer.status, hint });
}

function parseToken(body: Buffer, what: string): { readonly text: string; readonly lifeMs: number } {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    throw new CooperError("registry", `${what}: not valid JSON`);
  }
  const {
    token,
    access_token: accessToken,
    expires_in: expiresIn,
  } = (json ?? {}) as Readonly<Record<string, unknown>>;
  const text = token || accessToken;
  if (typeof text !== "string" || !/^[\x21-\x7e]+$/.test(text))
    throw new CooperError("registry", `${what}: there is no token in it`);
  const seconds = typeof expiresIn === "number" && expiresIn > 0 ? expiresIn : DEFAULT_LIFE_S;
  return { text, lifeMs: seconds * 1000 };
}
