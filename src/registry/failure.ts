import type { ErrorCode } from "../errors.js";
import { CooperError, hasCode } from "../errors.js";
import { wireFailure } from "../net/index.js";

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

/** The caller's AbortSignal fired. */
export function abortedError(): CooperError {
  return new CooperError("aborted", "the transfer was cancelled");
}

/** True when the server's certificate was not accepted. */
export function isCertificateError(error: unknown): boolean {
  return (
    wireFailure(error).certificate || (error instanceof RegistryFailure && isCertificateError(error.cause))
  );
}

/** What went wrong below HTTP, as an error that names the server. Errors of our own pass through. */
export function networkFailure(error: unknown, url: URL, signal: AbortSignal | undefined): CooperError {
  if (signal?.aborted || hasCode(error, "aborted")) return abortedError();
  if (error instanceof Error && error.name === "CooperError") return error as CooperError;
  const { reason, certificate, plain, transient } = wireFailure(error);
  const hints: readonly (readonly [boolean, string])[] = [
    [certificate, "put its authority into certs.d or --cert-dir as *.crt, or use --tls-verify=false"],
    [plain, "use --tls-verify=false, or insecure = true in registries.conf, for plain HTTP"],
  ];
  const hint = hints.find(([fits]) => fits)?.[1];
  return new RegistryFailure("network", `cannot reach ${url.protocol}//${url.host}: ${reason}`, {
    transient,
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}
