import type { Diagnostic, SourceText, Span } from "./source.js";
import { excerpt, place, renderDiagnostic } from "./source.js";

/**
 * What a user can cause, as a closed set. Compare `code`, never the class: an error that crossed a process
 * boundary, or came from a second copy of this package, is still recognised by it.
 */
export type ErrorCode =
  | "usage" // a flag, argument or option that cannot be understood
  | "syntax" // the Containerfile has errors; `diagnostics` lists all of them
  | "unsupported" // understood, but this version does not do it
  | "not-found" // a file, stage, image or blob that was named does not exist
  | "invalid-name" // an image name, tag or digest that breaks its grammar
  | "context" // the build context cannot be read, or changed while it was read
  | "run-failed" // a step's or container's process ended with a non-zero status
  | "aborted" // the caller's AbortSignal fired
  | "sandbox" // the kernel refused a namespace, mount or limit
  | "corrupt" // stored or received bytes do not match their digest or format
  | "no-space" // a write failed because the disk, the quota or the inode table is full
  | "io" // any other failed system call on a user's path
  | "in-use" // an image or lock that somebody else needs
  | "store-version" // the store was written by a newer cooper, or by root and is read rootless
  | "auth" // the registry refused the credentials, or asked for some that we do not have
  | "denied" // the registry knows us and refuses all the same
  | "registry" // any other answer of a registry that ends the operation
  | "network"; // no connection, TLS failure, time-out

export interface CooperErrorOptions {
  readonly source?: SourceText;
  readonly span?: Span;
  readonly hint?: string;
  readonly cause?: unknown;
  readonly exitCode?: number;
  readonly diagnostics?: readonly Diagnostic[];
}

// oxlint-disable-next-line no-control-regex -- control characters are what this finds
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const URL_SECRET = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;

/** Text with the credentials of its URLs removed. */
export function withoutUrlSecrets(text: string): string {
  return text.replace(URL_SECRET, "$1***@");
}

/** The same, as long as before, so that a caret below it stays where it should. */
function withoutSecretsInPlace(text: string): string {
  return text.replace(
    URL_SECRET,
    (all, scheme: string) => `${scheme}${"*".repeat(all.length - scheme.length - 1)}@`,
  );
}

/** What is wrong lies in the text of the place, not in what a step did. */
const OF_THE_TEXT: ReadonlySet<ErrorCode> = new Set([
  "usage",
  "syntax",
  "unsupported",
  "not-found",
  "invalid-name",
]);

/** A URL, maybe a malformed one, without its query, which may hold a token. */
export function withoutQuery(url: string): string {
  return url.replace(/\?[^#]*/, "");
}

/** Makes text safe to print: control characters escaped, credentials in URLs removed. */
export function printable(text: string): string {
  return withoutUrlSecrets(text).replace(
    CONTROL,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** The one error type that leaves a room. `message` is one clear line; where it happened is in `where`. */
export class CooperError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly span: Span | undefined;
  /** `file:line:column`, when the error has a place in a source text. */
  readonly where: string | undefined;
  /** The line of the place with a caret line below it, when what is wrong lies there and no finding shows it. */
  readonly excerpt: string | undefined;
  /** What `cooper` exits with: a failed RUN's own status, else 125. */
  readonly exitCode: number;
  /** Every finding, rendered with its excerpt; only for code `syntax`. */
  readonly findings: readonly string[];

  constructor(code: ErrorCode, message: string, options: CooperErrorOptions = {}) {
    super(printable(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CooperError";
    this.code = code;
    this.hint = options.hint === undefined ? undefined : printable(options.hint);
    this.span = options.span;
    this.where = options.source && options.span ? place(options.source, options.span) : undefined;
    this.exitCode = options.exitCode ?? 125;
    const { source, span, diagnostics = [] } = options;
    this.findings = source
      ? diagnostics.map((one) => withoutSecretsInPlace(renderDiagnostic(source, one)))
      : [];
    this.excerpt =
      source && span && diagnostics.length === 0 && OF_THE_TEXT.has(code)
        ? withoutSecretsInPlace(excerpt(source, span))
        : undefined;
  }
}

/** The same error with a place in a source text, unless it has one already or is not a CooperError. */
export function withPlace(error: unknown, source: SourceText, span: Span): unknown {
  if (!(error instanceof CooperError) || error.where !== undefined) return error;
  const { code, message, hint, exitCode } = error;
  return new CooperError(code, message, {
    source,
    span,
    exitCode,
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** True for a CooperError of this code, whichever copy of the class made it. */
export function hasCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof Error && error.name === "CooperError" && (error as CooperError).code === code;
}

/** The errno name (`ENOENT`) of a failed system call, else undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  ENOSPC: "no space left on device",
  EDQUOT: "disk quota exceeded",
  EROFS: "read-only file system",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  EMFILE: "too many open files",
  EIO: "input/output error",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "file name too long",
};

/** A failed system call as a CooperError that names what was done to which path. */
export function ioError(action: string, path: string, error: unknown): CooperError {
  if (error instanceof Error && error.name === "CooperError") return error as CooperError;
  const errno = errnoOf(error);
  const reason = (errno && REASONS[errno]) ?? (error instanceof Error ? error.message : String(error));
  const full = errno === "ENOSPC" || errno === "EDQUOT";
  return new CooperError(full ? "no-space" : "io", `cannot ${action} ${path}: ${reason}`, {
    cause: error,
    ...(full ? { hint: "free some space, or choose another store with --root" } : {}),
  });
}

/** For the default branch of a switch over a union: fails to compile while a case is missing. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
