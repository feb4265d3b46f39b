import { lookup as systemLookup } from "node:dns";
import type { LookupAddress, LookupAllOptions } from "node:dns";
import { isIP } from "node:net";
import { createSecureContext } from "node:tls";
import type { SecureContext } from "node:tls";
import type { Dispatcher } from "undici";
import { CooperError } from "../errors.js";
import { mayRefer, proxyAgent, proxyFor, reachOf, shownUrl } from "../net/index.js";
import type { Reach, Referral } from "../net/index.js";
import type { TlsMaterial } from "./certificates.js";
import { networkFailure } from "./failure.js";

/** Limits in ms; all are about progress except `documentMs`. */
export interface Timings {
  readonly connectMs: number;
  /** Without a byte of an answer's head or body. */
  readonly idleMs: number;
  /** Without the server taking a byte of an upload. */
  readonly stallMs: number;
  /** Until the answer to a whole upload: registries copy and hash gigabytes before they answer. */
  readonly commitMs: number;
  /** For a whole manifest, config or token. */
  readonly documentMs: number;
  readonly retryBaseMs: number;
  readonly retryCapMs: number;
}

export const defaultTimings: Timings = {
  connectMs: 20_000,
  idleMs: 30_000,
  stallMs: 60_000,
  commitMs: 900_000,
  documentMs: 120_000,
  retryBaseMs: 1_000,
  retryCapMs: 60_000,
};

/** Of `dns.lookup` with `all: true`. */
export type Lookup = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** How to believe a server: one object per registry, compared by identity. */
export interface Peer {
  readonly material: TlsMaterial;
  readonly anyCertificate: boolean;
}

/** Set for a server that a registry sent us to. */
export interface Guard {
  readonly from: Reach;
  readonly purpose: Referral;
}

export interface WireRequest {
  readonly method: Dispatcher.HttpMethod;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly peer: Peer;
  readonly guard?: Guard;
  readonly signal?: AbortSignal | undefined;
  /** Longest wait for the answer's head, ms; default `idleMs`. */
  readonly answerMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Dispatcher.ResponseData["headers"];
  readonly body: Dispatcher.ResponseData["body"];
  readonly url: URL;
}

export interface Transport {
  readonly timings: Timings;
  /** One request, no redirects, no retries. Throws `network` or `aborted`; the caller reads or dumps the body. */
  send(request: WireRequest): Promise<Answer>;
  /** How far inside a server that was reached stands; `public` when a proxy stands between. */
  reach(url: URL): Reach;
  close(): Promise<void>;
}

export interface TransportOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Called once, before the first TLS connection. */
  readonly authorities: () => readonly string[];
  readonly timings: Timings;
  readonly lookup?: Lookup;
}

const MAX_HEADER_BYTES = 64 * 1024;

/** The only place that opens connections. undici is loaded by the first request. */
export function openTransport({
  env,
  authorities,
  timings,
  lookup = systemLookup,
}: TransportOptions): Transport {
  const reaches = new Map<string, Reach>();
  const contexts = new Map<string, SecureContext>();
  const dispatchers = new Map<Peer, Map<string, Dispatcher>>();
  let trusted: readonly string[] | undefined;

  const secureContext = ({ material, anyCertificate }: Peer): SecureContext => {
    // By content: reading all authorities costs about 100 ms, and most hosts have none of their own.
    const key = JSON.stringify([material, anyCertificate]);
    const known = contexts.get(key);
    if (known) return known;
    const ca = anyCertificate ? {} : { ca: [...(trusted ??= authorities()), ...material.ca] };
    try {
      const made = createSecureContext({ ...ca, ...material.client });
      contexts.set(key, made);
      return made;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new CooperError("usage", `a certificate or key cannot be used: ${reason}`);
    }
  };

  /** Checks what is dialled, not what is written: a harmless name may resolve to an inner address. */
  const guardedLookup =
    (guard: Guard | undefined) => (hostname: string, options: LookupAllOptions, callback: LookupCallback) => {
      lookup(hostname, { ...options, all: true }, (error, addresses) => {
        if (error) return callback(error, options.all ? [] : "");
        const found = addresses.map(({ address }) => reachOf(address) ?? "link-local");
        const inner = guard && found.find((to) => !mayRefer(guard.from, to, guard.purpose));
        if (inner)
          return callback(
            referralRefused(`${hostname}, which is a ${inner} address`, guard),
            options.all ? [] : "",
          );
        if (!guard) reaches.set(hostname, found.includes("public") ? "public" : (found[0] ?? "public"));
        const [first] = addresses;
        return options.all ? callback(null, addresses) : callback(null, first?.address ?? "", first?.family);
      });
    };

  const dispatcherFor = (undici: typeof import("undici"), { url, peer, guard }: WireRequest): Dispatcher => {
    const proxy = proxyFor(url, env);
    const key = `${url.protocol} ${guard?.from} ${guard?.purpose} ${proxy?.href}`;
    const known = dispatchers.get(peer)?.get(key);
    if (known) return known;
    const { connectMs } = timings;
    const tls =
      url.protocol === "https:"
        ? { secureContext: secureContext(peer), rejectUnauthorized: !peer.anyCertificate }
        : {};
    const common = { maxHeaderSize: MAX_HEADER_BYTES };
    const proxyContext =
      proxy?.protocol === "https:"
        ? secureContext({ material: { ca: [] }, anyCertificate: false })
        : undefined;
    const made = proxy
      ? proxyAgent(undici, { ...common, proxy, proxyContext, tls, connectMs })
      : new undici.Agent({
          ...common,
          connect: { ...tls, timeout: connectMs, lookup: guardedLookup(guard) as never },
        });
    dispatchers.set(peer, (dispatchers.get(peer) ?? new Map<string, Dispatcher>()).set(key, made));
    return made;
  };

  return {
    timings,
    reach: (url) => {
      const literal = reachOf(url.hostname.replace(/^\[|\]$/g, ""));
      return literal ?? (proxyFor(url, env) ? "public" : (reaches.get(url.hostname) ?? "public"));
    },
    send: async (request) => {
      const { method, url, headers, body, guard, signal } = request;
      if (signal?.aborted) throw networkFailure(undefined, url, signal);
      if (guard) refuseInnerLiteral(url, guard);
      try {
        const undici = await import("undici");
        const { statusCode, ...answer } = await undici.request(url, {
          dispatcher: dispatcherFor(undici, request),
          method,
          headers: { "user-agent": "cooper", "accept-encoding": "identity", ...headers },
          body: (body ?? null) as Uint8Array | null,
          headersTimeout: request.answerMs ?? timings.idleMs,
          bodyTimeout: timings.idleMs,
          signal: signal ?? null,
        });
        // Whoever gives a body up destroys it; without a listener that would end the process.
        answer.body.on("error", () => undefined);
        return { status: statusCode, headers: answer.headers, body: answer.body, url };
      } catch (error) {
        throw networkFailure(error, url, signal);
      }
    },
    close: async () => {
      const all = [...dispatchers.values()].flatMap((byKey) => [...byKey.values()]);
      dispatchers.clear();
      await Promise.all(all.map((dispatcher) => dispatcher.destroy()));
    },
  };
}

type LookupCallback = (error: Error | null, addresses: LookupAddress[] | string, family?: number) => void;

function refuseInnerLiteral(url: URL, guard: Guard): void {
  const literal = url.hostname.replace(/^\[|\]$/g, "");
  const to = isIP(literal) === 0 ? undefined : reachOf(literal);
  if (to && !mayRefer(guard.from, to, guard.purpose))
    throw referralRefused(`${shownUrl(url)}, which is a ${to} address`, guard);
}

const PURPOSES: Readonly<Record<Referral, string>> = {
  token: "for a token",
  upload: "with an upload",
  redirect: "for a blob",
};

function referralRefused(place: string, { purpose }: Guard): CooperError {
  return new CooperError("registry", `refused: the registry sends us ${PURPOSES[purpose]} to ${place}`, {
    hint: "only a registry that stands on such an address itself may do that",
  });
}
