import type PQueue from "p-queue";
import type { ErrorCode } from "../errors.js";
import { CooperError, hasCode } from "../errors.js";
import { formatReference } from "../image/index.js";
import type { Descriptor, FullReference, Platform, Reference } from "../image/index.js";
import { systemAuthorities } from "../net/index.js";
import type { Credential } from "./auth-file.js";
import { hostCertificates } from "./certificates.js";
import {
  authorizerFor,
  checkCredential,
  endpointText,
  openClient,
  pingRegistry,
  strictnessFor,
} from "./client.js";
import type { Link, RepositoryClient } from "./client.js";
import type { Authorizer } from "./authorizer.js";
import { findCredential, findCredentialSync, parseCreds } from "./credentials.js";
import type { CredentialQuery } from "./credentials.js";
import { downloadBlob } from "./download.js";
import { abortedError } from "./failure.js";
import { canonicalHost, canonicalName } from "./hosts.js";
import { forgetCredential, loginHost, storeCredential } from "./login.js";
import { candidateNames, endpointName, hostIsInsecure, pullEndpoints, pushEndpoint } from "./names.js";
import type { Endpoint } from "./names.js";
import type { Persistence } from "./persist.js";
import { openMeter } from "./progress.js";
import { platformWarning, pullImage } from "./pull.js";
import { pushImage } from "./push.js";
import { readRegistriesConf } from "./registries-conf.js";
import type { RegistriesConf } from "./registries-conf.js";
import { openSecrets } from "./secrets.js";
import { defaultTimings, openTransport } from "./transport.js";
import type { Lookup, Timings } from "./transport.js";
import type { FoundImage, PushImage, Registry, RegistryOptions } from "./types.js";

/** Everything the room takes from its surroundings. */
export interface OpenRegistryOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly uid: number;
  /** Blobs moved at the same time; default 4. */
  readonly concurrency?: number;
  /** Instead of `/etc`. */
  readonly etc?: string;
  /** Limits other than the defaults. */
  readonly timings?: Partial<Timings>;
  /** Instead of the system's resolver. */
  readonly lookup?: Lookup;
}

const DEFAULT_RETRIES = 3;

/** Opens the room. Nothing is read and no connection made before the first call that needs it; disposing closes all connections. */
export function openRegistry(options: OpenRegistryOptions): Registry {
  const room = openRoom(options);
  return {
    candidates: (name) => candidateNames(name, room.conf()),
    find: (name, platform, how) => find(room, name, platform, how),
    push: (image, destination, how) => push(room, image, destination, how),
    login: (host, credentials, how) => login(room, host, credentials, how),
    logout: (host, { authFile }) =>
      forgetCredential(host === "all" ? host : loginHost(host), room.places, authFile),
    whoIs: (host, how) => {
      const credential = findCredentialSync(
        queryFor({ host: loginHost(host), repository: "" }, how),
        room.places,
      );
      return credential === undefined ? undefined : credential.username;
    },
    [Symbol.asyncDispose]: () => room.transport.close(),
  };
}

/** What all calls share: configuration, connections, tokens, and the set of secrets. */
interface Room {
  readonly places: {
    readonly env: OpenRegistryOptions["env"];
    readonly home: string;
    readonly uid: number;
    readonly etc: string;
  };
  readonly conf: () => RegistriesConf;
  readonly transport: ReturnType<typeof openTransport>;
  readonly secrets: ReturnType<typeof openSecrets>;
  readonly queue: () => Promise<PQueue>;
  readonly links: Map<string, Promise<Link>>;
  readonly authorizers: Map<string, Authorizer>;
  /** Equal for clients of the same registry with the same credential. */
  readonly identities: WeakMap<RepositoryClient, string>;
  /** `host/repository` that this process pulled from or pushed to, with the identity it did so as. */
  readonly used: Map<string, string>;
}

function openRoom({
  env,
  home,
  uid,
  concurrency = 4,
  etc = "/etc",
  timings,
  lookup,
}: OpenRegistryOptions): Room {
  const places = { env, home, uid, etc };
  const limits = { ...defaultTimings, ...timings };
  const authorities = () => systemAuthorities(places);
  let conf: RegistriesConf | undefined;
  let queue: Promise<PQueue> | undefined;
  return {
    places,
    conf: () => (conf ??= readRegistriesConf(places)),
    transport: openTransport({ env, authorities, timings: limits, ...(lookup ? { lookup } : {}) }),
    secrets: openSecrets(),
    queue: () => (queue ??= import("p-queue").then(({ default: Queue }) => new Queue({ concurrency }))),
    links: new Map(),
    authorizers: new Map(),
    identities: new WeakMap(),
    used: new Map(),
  };
}

async function find(
  room: Room,
  name: Reference,
  platform: Platform,
  options: RegistryOptions,
): Promise<FoundImage> {
  const failures: { readonly where: string; readonly error: CooperError }[] = [];
  const candidates = candidateNames(name, room.conf());
  for (const [index, candidate] of candidates.entries()) {
    for (const endpoint of pullEndpoints(candidate, room.conf())) {
      try {
        // --creds are meant for one registry: the first that the name means, and never a mirror of it.
        const given = index === 0 && !endpoint.mirror ? options.creds : undefined;
        const client = await connect(room, endpoint, options, given);
        return await foundImage(room, client, candidate, platform, options);
      } catch (error) {
        if (!(error instanceof Error) || error.name !== "CooperError" || hasCode(error, "aborted"))
          throw error;
        const version =
          candidate.digest === undefined ? `:${candidate.tag ?? "latest"}` : `@${candidate.digest}`;
        failures.push({ where: `${endpointName(endpoint)}${version}`, error: error as CooperError });
      }
    }
  }
  throw foundNowhere(name, failures);
}

async function foundImage(
  room: Room,
  client: RepositoryClient,
  name: FullReference,
  platform: Platform,
  options: RegistryOptions,
): Promise<FoundImage> {
  const { onEvent } = options;
  const pulled = await pullImage(client, name, platform);
  room.used.set(endpointText(client), room.identities.get(client) ?? "");
  const warning = platformWarning(formatReference(name), pulled.config, platform);
  if (warning !== undefined) onEvent?.({ type: "warning", code: "platform", message: warning });
  return {
    reference: name,
    ...pulled,
    fetchLayer: async (layer, sink) => {
      const meter = openMeter(onEvent, "layer", layer);
      if (sink.has(layer.digest)) return meter.skip();
      const queue = await room.queue();
      await queue.add(async () => {
        if (options.signal?.aborted) throw abortedError();
        await downloadBlob(client, layer, sink, meter);
      });
    },
  };
}

/** One failure as it is; of several, the code of the one that says most and a line for each. */
function foundNowhere(
  name: Reference,
  failures: readonly { readonly where: string; readonly error: CooperError }[],
): CooperError {
  const [first] = failures;
  if (!first) throw new Error(`no endpoint for ${formatReference(name)}`);
  if (failures.length === 1) return first.error;
  const weight: readonly ErrorCode[] = ["not-found", "network", "registry", "denied", "auth", "corrupt"];
  const worst =
    failures.toSorted((a, b) => weight.indexOf(b.error.code) - weight.indexOf(a.error.code))[0] ?? first;
  const lines = failures.map(({ where, error }) => `  ${where}: ${error.message}`);
  return new CooperError(
    worst.error.code,
    [`cannot pull ${formatReference(name)}; tried:`, ...lines].join("\n"),
    {
      cause: worst.error,
      ...(worst.error.hint === undefined ? {} : { hint: worst.error.hint }),
    },
  );
}

async function push(
  room: Room,
  image: PushImage,
  destination: FullReference,
  options: RegistryOptions,
): Promise<Descriptor> {
  const name = canonicalName(destination);
  const endpoint = pushEndpoint(name, room.conf());
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const client = await connect(room, endpoint, { ...options, signal }, options.creds);
  const identity = room.identities.get(client) ?? "";
  const mayMountFrom = (repository: string) => room.used.get(`${endpoint.host}/${repository}`) === identity;
  const context = {
    client,
    queue: await room.queue(),
    onEvent: options.onEvent,
    mayMountFrom,
    cancel: () => stop.abort(),
  };
  const pushed = await pushImage(context, image, name);
  room.used.set(endpointName(endpoint), identity);
  return pushed;
}

async function login(
  room: Room,
  text: string,
  credentials: Credential,
  options: RegistryOptions,
): Promise<void> {
  const host = loginHost(text);
  const insecure = hostIsInsecure(host, room.conf());
  const link = await linkTo(room, host, insecure, options);
  const { transport, secrets } = room;
  const authorizer = authorizerFor(link, credentials, transport, secrets);
  await checkCredential({
    link,
    credential: credentials,
    authorizer,
    transport,
    secrets,
    how: persistence(room, options),
  });
  storeCredential(host, credentials, room.places, options.authFile);
}

/** A client for an endpoint, with the given or stored credential. Connections, pings and tokens are shared between clients. */
async function connect(
  room: Room,
  endpoint: Endpoint,
  options: RegistryOptions,
  creds: string | undefined,
): Promise<RepositoryClient> {
  const { host, repository, insecure } = endpoint;
  const { transport, secrets } = room;
  const given = creds === undefined ? undefined : parseCreds(creds);
  const credential = given ?? (await findCredential(queryFor(endpoint, options), room.places));
  secrets.add(credential?.password, credential?.identityToken);
  const link = await linkTo(room, host, insecure, options);
  const who =
    credential === undefined
      ? ""
      : JSON.stringify([credential.username, credential.password, credential.identityToken]);
  const key = JSON.stringify([linkKey(host, insecure, options), who]);
  const authorizer = room.authorizers.get(key) ?? authorizerFor(link, credential, transport, secrets);
  room.authorizers.set(key, authorizer);
  const client = openClient({
    link,
    repository,
    credential,
    authorizer,
    transport,
    secrets,
    how: persistence(room, options),
  });
  room.identities.set(client, key);
  return client;
}

async function linkTo(room: Room, host: string, insecure: boolean, options: RegistryOptions): Promise<Link> {
  const key = linkKey(host, insecure, options);
  const known = await room.links.get(key)?.catch(() => undefined);
  if (known) return known;
  const strictness = strictnessFor(host, options.tlsVerify, insecure);
  const material = hostCertificates(host, options.certDir, room.places);
  const peer = { material, anyCertificate: strictness === "any" };
  const link = pingRegistry(room.transport, host, peer, strictness, persistence(room, options));
  room.links.set(key, link);
  link.catch(() => room.links.delete(key));
  return link;
}

function linkKey(host: string, insecure: boolean, { tlsVerify, certDir }: RegistryOptions): string {
  return JSON.stringify([canonicalHost(host), strictnessFor(host, tlsVerify, insecure), certDir ?? ""]);
}

function persistence(
  room: Room,
  { retries = DEFAULT_RETRIES, signal, onEvent }: RegistryOptions,
): Persistence {
  const notice = (message: string) => onEvent?.({ type: "notice", message });
  return { retries, signal, notice, timings: room.transport.timings };
}

function queryFor(
  { host, repository }: Pick<Endpoint, "host" | "repository">,
  { authFile, signal, onEvent }: RegistryOptions,
): CredentialQuery {
  const warn = (message: string) => onEvent?.({ type: "warning", code: "credentials", message });
  return { host, repository, authFile, signal, warn };
}
