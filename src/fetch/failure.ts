import { CooperError, hasCode } from "../errors.js";
import type { ErrorCode } from "../errors.js";
import { shownUrl, wireFailure } from "../net/index.js";

/** A failed request. `transient`: the same request may succeed later. */
export class FetchFailure extends CooperError {
  readonly transient: boolean;
  /** What `Retry-After` asks for, ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      readonly transient?: boolean;
      readonly retryAfterMs?: number | undefined;
      readonly hint?: string;
      readonly cause?: unknown;
    } = {},
  ) {
    super(code, message, options);
    this.transient = options.transient ?? false;
    this.retryAfterMs = options.retryAfterMs;
  }
}

export function abortedError(): CooperError {
  return new CooperError("aborted", "the transfer was cancelled");
}

/** What went wrong below HTTP, as an error that names the URL without its secrets. Errors of our own pass through. */
export function networkFailure(error: unknown, url: URL, signal: AbortSignal | undefined): CooperError {
  if (signal?.aborted || hasCode(error, "aborted")) return abortedError();
  if (error instanceof Error && error.name === "CooperError") return error as CooperError;
  const { reason, transient, certificate } = wireFailure(error);
  return new FetchFailure("network", `cannot fetch ${shownUrl(url)}: ${reason}`, {
    transient,
    cause: error,
    ...(certificate ? { hint: "put its authority into a file that SSL_CERT_FILE names" } : {}),
  });
}

/** An answer that is neither a body nor a redirect. Source: RFC 9110 section 15. */
export function statusFailure(status: number, retryAfter: string | undefined, url: URL): FetchFailure {
  const what = `cannot fetch ${shownUrl(url)}: the server answered ${status}`;
  if (status === 404 || status === 410) return new FetchFailure("not-found", what);
  if (status === 401 || status === 403 || status === 407) return new FetchFailure("denied", what);
  const transient = status >= 500 || status === 408 || status === 425 || status === 429;
  const seconds = /^\d{1,6}$/.test(retryAfter ?? "") ? Number(retryAfter) : undefined;
  return new FetchFailure("network", what, {
    transient,
    retryAfterMs: seconds === undefined ? undefined : seconds * 1000,
  });
}
