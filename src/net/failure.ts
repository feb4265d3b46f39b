/** A URL as it may be shown: no user, no query (it may hold a signature), no fragment. */
export function shownUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

const NO_TLS = "it does not speak TLS";
const CERTIFICATE_ERRORS =
  /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT|INVALID_CA|HOSTNAME_MISMATCH)/;
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "the connection was reset",
  EPIPE: "the connection was closed",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the host name could not be resolved",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "the network is unreachable",
  ETIMEDOUT: "the connection timed out",
  UND_ERR_CONNECT_TIMEOUT: "the connection timed out",
  UND_ERR_HEADERS_TIMEOUT: "no answer in time",
  UND_ERR_BODY_TIMEOUT: "no more bytes came in time",
  UND_ERR_SOCKET: "the connection was closed",
  UND_ERR_HEADERS_OVERFLOW: "the answer's headers are too large",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "the answer ended early",
  CERT_HAS_EXPIRED: "its certificate has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another host",
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_HTTP_REQUEST: NO_TLS,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "it wants a client certificate",
};
const LASTING = ["ENOTFOUND", "UND_ERR_HEADERS_OVERFLOW", "ERR_INVALID_URL", "UND_ERR_INVALID_ARG"];

/** What went wrong below HTTP. */
export interface WireFailure {
  /** In plain words, to follow "cannot reach HOST: ". */
  readonly reason: string;
  /** The same request may succeed later. */
  readonly transient: boolean;
  /** The server's certificate was not accepted. */
  readonly certificate: boolean;
  /** The server speaks plain HTTP where TLS was expected. */
  readonly plain: boolean;
}

/** What went wrong between us and a proxy, in plain words; the server behind it was not reached. */
export class ProxyFailure extends Error {
  readonly transient: boolean;

  constructor(message: string, transient: boolean) {
    super(message);
    this.transient = transient;
  }
}

/** Reads an error of Node's or undici's by its code. */
export function wireFailure(error: unknown): WireFailure {
  if (error instanceof ProxyFailure)
    return { reason: error.message, transient: error.transient, certificate: false, plain: false };
  const code = codeOf(error);
  const certificate = CERTIFICATE_ERRORS.test(code);
  const untrusted = certificate && !(code in REASONS);
  const reason = untrusted
    ? "its certificate is signed by an unknown authority"
    : (REASONS[code] ?? plainReason(error, code));
  const plain = reason === NO_TLS;
  return { reason, certificate, plain, transient: !certificate && !LASTING.includes(code) && !plain };
}

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  if (typeof code === "string" && code !== "") return code;
  const { cause, errors } = (error ?? {}) as { readonly cause?: unknown; readonly errors?: unknown };
  const inner = cause ?? (Array.isArray(errors) ? errors[0] : undefined);
  return inner === undefined ? "" : codeOf(inner);
}

function plainReason(error: unknown, code: string): string {
  if (code !== "" && /^(?:ERR_SSL_|EPROTO)/.test(code)) return `TLS failed (${code})`;
  const text = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
  return code === "" ? text.slice(0, 200) : `${text.slice(0, 200)} (${code})`;
}
