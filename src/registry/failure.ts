import type { ErrorCode } from "../errors.js";
import { CooperError, hasCode } from "../errors.js";

/** A failed request. `transient`: the same request may succeed later. */
export class RegistryFailure extends CooperError {
  readonly transient: boolean;
  /** HTTP status, when there was an answer. */
  readonly status: number | undefined;
  /** What `Retry-After` asks for, ms. */
  readonly retryAfterMs: number | undefined;
  /** The registry's own error codes (`NAME_UNKNOWN`). Source: OCI distribution-spec "Error Codes". */
  readonly registryCodes: readonly string[];

  constructor(code: ErrorCode, message: string, options: FailureOptions = {}) {
    super(code, message, options);
    this.transient = options.transient ?? false;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
    this.registryCodes = options.registryCodes ?? [];
  }
}

export interface FailureOptions {
  readonly transient?: boolean;
  readonly status?: number;
  readonly retryAfterMs?: number | undefined;
  readonly registryCodes?: readonly string[];
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The status of a failed answer, else undefined. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof RegistryFailure ? error.status : undefined;
}

/** A URL as it may be shown: no user, no query (it may hold a signature), no fragment. */
export function shownUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

/** The caller's AbortSignal fired. */
export function abortedError(): CooperError {
  return new CooperError("aborted", "the transfer was cancelled");
}

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
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS",
  ERR_SSL_HTTP_REQUEST: "it does not speak TLS",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "it wants a client certificate",
};
const LASTING = ["ENOTFOUND", "UND_ERR_HEADERS_OVERFLOW", "ERR_INVALID_URL", "UND_ERR_INVALID_ARG"];

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  if (typeof code === "string" && code !== "") return code;
  const { cause, errors } = (error ?? {}) as { readonly cause?: unknown; readonly errors?: unknown };
  const inner = cause ?? (Array.isArray(errors) ? errors[0] : undefined);
  return inner === undefined ? "" : codeOf(inner);
}

/** True when the server's certificate was not accepted. */
export function isCertificateError(error: unknown): boolean {
  return (
    CERTIFICATE_ERRORS.test(codeOf(error)) ||
    (error instanceof RegistryFailure && isCertificateError(error.cause))
  );
}

/** What went wrong below HTTP, as an error that names the server. Errors of our own pass through. */
export function networkFailure(error: unknown, url: URL, signal: AbortSignal | undefined): CooperError {
  if (signal?.aborted || hasCode(error, "aborted")) return abortedError();
  if (error instanceof Error && error.name === "CooperError") return error as CooperError;
  const code = codeOf(error);
  const certificate = CERTIFICATE_ERRORS.test(code);
  const untrusted = certificate && !(code in REASONS);
  const reason = untrusted
    ? "its certificate is signed by an unknown authority"
    : (REASONS[code] ?? plainReason(error, code));
  const hints: readonly (readonly [boolean, string])[] = [
    [certificate, "put its authority into certs.d or --cert-dir as *.crt, or use --tls-verify=false"],
    [
      reason === "it does not speak TLS",
      "use --tls-verify=false, or insecure = true in registries.conf, for plain HTTP",
    ],
  ];
  const hint = hints.find(([fits]) => fits)?.[1];
  return new RegistryFailure("network", `cannot reach ${url.protocol}//${url.host}: ${reason}`, {
    transient: !certificate && !LASTING.includes(code) && reason !== "it does not speak TLS",
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

function plainReason(error: unknown, code: string): string {
  if (code !== "" && /^(?:ERR_SSL_|EPROTO)/.test(code)) return `TLS failed (${code})`;
  const text = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
  return code === "" ? text.slice(0, 200) : `${text.slice(0, 200)} (${code})`;
}
