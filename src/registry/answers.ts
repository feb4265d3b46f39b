import type { ErrorCode } from "../errors.js";
import { CooperError } from "../errors.js";
import { shownUrl } from "../net/index.js";
import { networkFailure, RegistryFailure } from "./failure.js";
import type { Secrets } from "./secrets.js";
import type { Answer } from "./transport.js";

const MAX_ERROR_BYTES = 64 * 1024;

/** One header as text; the first one where a server sent several. */
export function header(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Reads the rest of an answer that is of no interest, so that its connection can be used again. */
export async function discard(answer: Answer): Promise<void> {
  // A body that fails here is a connection that cannot be used again, nothing more.
  await answer.body.dump({ limit: MAX_ERROR_BYTES }).catch(() => undefined);
}

export interface DocumentLimits {
  /** Names the document in messages. */
  readonly what: string;
  readonly maxBytes: number;
  /** For the whole of it: a byte per second is progress, but no document. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
}

/** A whole small body. Throws `corrupt` when it is too large or compressed, `network` when it ends early or takes too long. */
export async function readDocument(
  answer: Answer,
  { what, maxBytes, deadlineMs, signal }: DocumentLimits,
): Promise<Buffer> {
  const encoding = header(answer, "content-encoding");
  if (encoding !== undefined && encoding !== "identity") {
    answer.body.destroy();
    throw new CooperError(
      "corrupt",
      `${what}: sent with Content-Encoding ${encoding.slice(0, 40)}, which we did not ask for`,
    );
  }
  const late = () => answer.body.destroy(new Error("the whole answer did not come in time"));
  const timer = setTimeout(late, deadlineMs);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      length += chunk.byteLength;
      if (length > maxBytes) throw new CooperError("corrupt", `${what}: larger than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw networkFailure(error, answer.url, signal);
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks);
}

const TRANSIENT = [408, 429, 499, 500, 502, 503, 504, 522];

export interface FailureContext {
  /** Begins the message: `cannot push layer sha256:… to host/repo`. */
  readonly doing: string;
  readonly method: string;
  readonly secrets: Secrets;
  readonly deadlineMs: number;
  /** Whether credentials were sent with the request. */
  readonly authenticated: boolean;
}

/** A refusing answer as an error: what we did, status, the registry's own codes and words, the URL without its query. */
export async function answerFailure(answer: Answer, context: FailureContext): Promise<RegistryFailure> {
  const { status } = answer;
  const told = await readErrors(answer, context);
  const words = told.map(({ code, message }) => [code, message].filter(Boolean).join(": ")).join("; ");
  const text = `${context.doing}: the registry answered ${status}${words === "" ? "" : ` ${words}`} (${context.method} ${shownUrl(answer.url)})`;
  const registryCodes = told.flatMap(({ code }) => (code ? [code] : []));
  const hint = hintFor(status, registryCodes, words, context);
  return new RegistryFailure(codeFor(status, registryCodes), text, {
    status,
    registryCodes,
    transient: TRANSIENT.includes(status),
    retryAfterMs: retryAfter(header(answer, "retry-after")),
    ...(hint === undefined ? {} : { hint }),
  });
}

function codeFor(status: number, codes: readonly string[]): ErrorCode {
  if (status === 401) return "auth";
  if (status === 403) return "denied";
  if (status === 404) return "not-found";
  return codes.includes("DENIED") ? "denied" : "registry";
}

/** What the terse answers of common registries mean, and what to do. */
function hintFor(
  status: number,
  codes: readonly string[],
  words: string,
  { method, authenticated }: FailureContext,
): string | undefined {
  if (status === 401 && !authenticated)
    return "there are no credentials for this registry: use cooper login, or --creds";
  if (status === 401) return "the credentials are wrong, have expired, or may not do this";
  if (status === 403 && !authenticated)
    return "there are no credentials for this registry: use cooper login, or --creds";
  if (status === 413)
    return "a proxy before the registry limits the size of uploads (nginx: client_max_body_size)";
  if (status === 429)
    return "the registry limits requests: log in for a higher limit, or name a mirror in registries.conf";
  if (/circuit breaker/i.test(words))
    return "Artifactory refuses images whose manifest mixes docker and OCI media types";
  if (method === "PUT" && (codes.includes("MANIFEST_INVALID") || status === 403)) {
    return "Artifactory answers so when the tag exists and the user lacks the right to delete; GitLab and Harbor when the tag is protected or immutable";
  }
  if (codes.includes("MANIFEST_BLOB_UNKNOWN") || /blob unknown/i.test(words))
    return "the registry lost an uploaded blob: push again";
  if (method !== "GET" && method !== "HEAD" && codes.includes("NAME_UNKNOWN"))
    return "the project or repository must be made in the registry first";
  return undefined;
}

interface ToldError {
  readonly code?: string;
  readonly message?: string;
}

/** The answer's `errors` list (or a token server's `details`), at most five; never the text of a web page. */
async function readErrors(
  answer: Answer,
  { secrets, deadlineMs }: FailureContext,
): Promise<readonly ToldError[]> {
  let body: unknown;
  try {
    const limits = { what: "error", maxBytes: MAX_ERROR_BYTES, deadlineMs, signal: undefined };
    body = JSON.parse((await readDocument(answer, limits)).toString("utf8"));
  } catch {
    // Not JSON, too long or cut: the status alone must do.
    answer.body.destroy();
    return [];
  }
  if (typeof body !== "object" || body === null) return [];
  const { errors, details, message, error } = body as Readonly<Record<string, unknown>>;
  const shown = (value: unknown) =>
    typeof value === "string" ? secrets.scrub(value).replace(/\s+/g, " ").slice(0, 300) : undefined;
  const entries: readonly unknown[] = Array.isArray(errors)
    ? errors.slice(0, 5)
    : [{ message: details ?? message ?? error }];
  return entries.map((entry) => {
    const { code, message: text, detail } = (entry ?? {}) as Readonly<Record<string, unknown>>;
    const words = shown(text) || shown(detail);
    const named = shown(code);
    return {
      ...(named === undefined ? {} : { code: named }),
      ...(words === undefined ? {} : { message: words }),
    };
  });
}

/** `Retry-After` in ms: seconds or an HTTP date; undefined for anything else. Source: RFC 9110 section 10.2.3. */
export function retryAfter(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\s*\d{1,12}\s*$/.test(text)) return Number(text) * 1000;
  const date = /^[A-Za-z]{3,9},? /.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
