import { lookup as systemLookup } from "node:dns";
import type { LookupAddress, LookupAllOptions } from "node:dns";
import { createSecureContext } from "node:tls";
import type { SecureContext } from "node:tls";
import type { Dispatcher } from "undici";
import type { Reach } from "../net/index.js";
import { mayRefer, proxyAgent, proxyFor, reachOf, shownUrl, systemAuthorities } from "../net/index.js";
import { FetchFailure, networkFailure } from "./failure.js";

/** Limits of time in ms; all but `connectMs` are about progress, never about the whole. */
export interface Timings {
  readonly connectMs: number;
  /** Without a byte of an answer's head or body. */
  readonly idleMs: number;
  readonly retryBaseMs: number;
  readonly retryCapMs: number;
}

export const defaultTimings: Timings = {
  connectMs: 20_000,
  idleMs: 60_000,
  retryBaseMs: 1_000,
  retryCapMs: 60_000,
};

export interface Answer {
  readonly status: number;
  readonly headers: Dispatcher.ResponseData["headers"];
  readonly body: Dispatcher.ResponseData["body"];
}

export interface Transport {
  /**
   * One GET, no redirects, no retries. `sentBy`: how far inside the server stands that sent us here; nobody may send us
   * further inside than it is itself. Throws `network`, `denied`, `aborted`; the caller reads or destroys the body.
   */
  get(
    url: URL,
    headers: Readonly<Record<string, string>>,
    how: { readonly sentBy: Reach | undefined; readonly signal: AbortSignal | undefined },
  ): Promise<Answer>;
  /** How far inside a server that was reached stands; `public` when a proxy stands between. */
  reach(url: URL): Reach;
  close(): Promise<void>;
}

type LookupCallback = (error: Error | null, addresses: LookupAddress[] | string, family?: number) => void;

/** Of `dns.lookup` with `all: true`. */
export type Lookup = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

export interface TransportOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly etc: string;
  readonly timings: Timings;
  readonly lookup?: Lookup | undefined;
}

const MAX_HEADER_BYTES = 64 * 1024;

/** Opens connections for the room. undici is loaded by the first request. */
export function openTransport({ env, etc, timings, lookup = systemLookup }: TransportOptions): Transport {
  const reaches = new Map<string, Reach>();
  const dispatchers = new Map<string, Dispatcher>();
  let trusted: SecureContext | undefined;
  const secureContext = (): SecureContext =>
    (trusted ??= createSecureContext({ ca: [...systemAuthorities({ env, etc })] }));

  /** Checks what is dialled, not what is written: a harmless name may resolve to an inner address. */
  const guardedLookup =
    (sentBy: Reach | undefined) =>
    (hostname: string, options: LookupAllOptions, callback: LookupCallback) => {
      lookup(hostname, { ...options, all: true }, (error, addresses) => {
        const none = options.all ? [] : "";
        if (error) return callback(error, none);
        const found = addresses.map(({ address }) => reachOf(address) ?? "link-local");
        const inner = sentBy && found.find((to) => !mayRefer(sentBy, to, "redirect"));
        if (inner) return callback(referralRefused(hostname, inner), none);
        if (!sentBy) reaches.set(hostname, found.includes("public") ? "public" : (found[0] ?? "public"));
        const [first] = addresses;
        return options.all ? callback(null, addresses) : callback(null, first?.address ?? "", first?.family);
      });
    };

  const dispatcherFor = (
    undici: typeof import("undici"),
    url: URL,
    sentBy: Reach | undefined,
  ): Dispatcher => {
    const proxy = proxyFor(url, env);
    const key = `${url.protocol} ${sentBy} ${proxy?.href}`;
    const known = dispatchers.get(key);
    if (known) return known;
    const { connectMs } = timings;
    const tls = url.protocol === "https:" ? { secureContext: secureContext() } : {};
    const proxyContext = proxy?.protocol === "https:" ? secureContext() : undefined;
    const common = { maxHeaderSize: MAX_HEADER_BYTES };
    const made = proxy
      ? proxyAgent(undici, { ...common, proxy, proxyContext, tls, connectMs })
      : new undici.Agent({
          ...common,
          connect: { ...tls, timeout: connectMs, lookup: guardedLookup(sentBy) as never },
        });
    dispatchers.set(key, made);
    return made;
  };

  return {
    reach: (url) =>
      reachOf(hostOf(url)) ?? (proxyFor(url, env) ? "public" : (reaches.get(url.hostname) ?? "public")),
    get: async (url, headers, { sentBy, signal }) => {
      if (signal?.aborted) throw networkFailure(undefined, url, signal);
      const literal = reachOf(hostOf(url));
      if (sentBy && literal && !mayRefer(sentBy, literal, "redirect"))
        throw referralRefused(shownUrl(url), literal);
      try {
        const undici = await import("undici");
        const { statusCode, ...answer } = await undici.request(url, {
          dispatcher: dispatcherFor(undici, url, sentBy),
          method: "GET",
          // What a server compresses on its own account could not be compared with a checksum.
          headers: { "user-agent": "cooper", "accept-encoding": "identity", ...headers },
          headersTimeout: timings.idleMs,
          bodyTimeout: timings.idleMs,
          signal: signal ?? null,
        });
        // Whoever gives a body up destroys it; without a listener that would end the process.
        answer.body.on("error", () => undefined);
        return { status: statusCode, headers: answer.headers, body: answer.body };
      } catch (error) {
        throw networkFailure(error, url, signal);
      }
    },
    close: async () => {
      const all = [...dispatchers.values()];
      dispatchers.clear();
      await Promise.all(all.map((dispatcher) => dispatcher.destroy()));
    },
  };
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

function referralRefused(place: string, to: Reach): FetchFailure {
  return new FetchFailure("denied", `refused a redirect to ${place}, which is a ${to} address`, {
    hint: "only a server that stands on such an address itself may send us there",
  });
}
