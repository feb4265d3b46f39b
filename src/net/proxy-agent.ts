import type { IncomingMessage, RequestOptions } from "node:http";
import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import type { Dispatcher } from "undici";
import { ProxyFailure, wireFailure } from "./failure.js";

export interface ProxyAgentOptions {
  /** With the user and password that it wants. */
  readonly proxy: URL;
  /** For an https proxy. */
  readonly proxyContext: SecureContext | undefined;
  /** For https servers behind it. */
  readonly tls: { readonly secureContext?: SecureContext; readonly rejectUnauthorized?: boolean };
  /** Until there is a way through the proxy, ms; once more for TLS with the server. */
  readonly connectMs: number;
  readonly maxHeaderSize: number;
}

/**
 * A dispatcher for servers behind a proxy. undici's own has no limit of time, and asks without end and without letting go
 * when the proxy closes the connection instead of answering; it is left with SOCKS.
 */
export function proxyAgent(
  { Agent, ProxyAgent, buildConnector }: typeof import("undici"),
  options: ProxyAgentOptions,
): Dispatcher {
  const { proxy, connectMs, tls, maxHeaderSize } = options;
  const requestTls = { ...tls, timeout: connectMs };
  if (!/^https?:$/.test(proxy.protocol))
    return new ProxyAgent({ maxHeaderSize, uri: proxy.href, requestTls });
  const secured = buildConnector(requestTls);
  return new Agent({
    maxHeaderSize,
    connect: (server, callback) => {
      const target = server.port ? server.host : undefined;
      openTunnel(options, target ?? `${server.host}:${server.protocol === "https:" ? 443 : 80}`).then(
        (socket) => {
          if (server.protocol === "https:") secured({ ...server, httpSocket: socket }, callback);
          else callback(null, socket);
        },
        (error: Error) => callback(error, null),
      );
    },
  });
}

/** A connection to `target` (host:port) through a proxy. Source: RFC 9110 section 9.3.6. Throws ProxyFailure. */
async function openTunnel(options: ProxyAgentOptions, target: string): Promise<Socket> {
  const { proxy, connectMs } = options;
  const isSecure = proxy.protocol === "https:";
  const { request } = await (isSecure ? import("node:https") : import("node:http"));
  return new Promise((resolve, reject) => {
    const asking = request(connectRequest(options, target));
    const fail = (reason: string, transient: boolean): void => {
      reject(new ProxyFailure(`the proxy ${proxy.host} ${reason}`, transient));
      asking.destroy();
    };
    const timer = setTimeout(() => fail("did not answer in time", true), connectMs);
    asking
      .once("connect", ({ statusCode = 0 }: IncomingMessage, socket: Socket, head: Buffer) => {
        clearTimeout(timer);
        if (statusCode >= 200 && statusCode < 300) {
          if (head.length > 0) socket.unshift(head);
          return resolve(socket);
        }
        socket.on("error", () => undefined).destroy();
        const why = statusCode === 407 ? ": it wants a user and password, or others" : "";
        return fail(`answered ${statusCode}${why}`, statusCode >= 500);
      })
      .on("error", (error) => {
        clearTimeout(timer);
        const { reason, transient } = wireFailure(error);
        fail(`cannot be used: ${reason}`, transient);
      })
      .end();
  });
}

function connectRequest({ proxy, proxyContext }: ProxyAgentOptions, target: string): RequestOptions {
  const { hostname, username, password } = proxy;
  const login = Buffer.from(`${decoded(username)}:${decoded(password)}`);
  return {
    method: "CONNECT",
    host: hostname.replace(/^\[|\]$/g, ""),
    port: proxy.port || (proxy.protocol === "https:" ? 443 : 80),
    path: target,
    agent: false,
    headers: {
      host: target,
      "user-agent": "cooper",
      "proxy-connection": "keep-alive",
      ...(username === "" ? {} : { "proxy-authorization": `Basic ${login.toString("base64")}` }),
    },
    ...(proxyContext ? { secureContext: proxyContext } : {}),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
