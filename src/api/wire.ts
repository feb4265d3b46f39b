import { CooperError } from "../errors.js";
import type { ErrorCode } from "../errors.js";
import type { CooperEvent } from "../events.js";
import type { Rights } from "../runtime/index.js";

/** A CooperError as plain data, to cross a process boundary. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly where?: string;
  readonly excerpt?: string;
  readonly findings: readonly string[];
  readonly exitCode: number;
}

/** What the caller sends to an engine process. Structured clone, one object a message. */
export type ToEngine =
  | {
      readonly type: "call";
      readonly root: string;
      /** The caller's: an engine's namespaces are new each time. */
      readonly rights: Rights;
      readonly method: string;
      readonly args: readonly unknown[];
    }
  | { readonly type: "abort" };

/** What an engine process sends back; `result` or `error` comes last. */
export type FromEngine =
  | { readonly type: "ready" }
  | { readonly type: "event"; readonly event: CooperEvent }
  | { readonly type: "output"; readonly stream: "stdout" | "stderr"; readonly chunk: Uint8Array }
  | { readonly type: "result"; readonly value: unknown }
  | { readonly type: "error"; readonly error: WireError }
  | { readonly type: "failure"; readonly message: string; readonly stack: string };

/** A CooperError as data; undefined for any other error. */
export function toWire(error: unknown): WireError | undefined {
  if (!(error instanceof CooperError)) return undefined;
  const { code, message, hint, where, excerpt, findings, exitCode } = error;
  return {
    code,
    message,
    findings,
    exitCode,
    ...(hint === undefined ? {} : { hint }),
    ...(where === undefined ? {} : { where }),
    ...(excerpt === undefined ? {} : { excerpt }),
  };
}

/** The error again, as it was thrown on the other side. */
export function fromWire(wire: WireError): CooperError {
  const error = new CooperError(wire.code, wire.message, {
    exitCode: wire.exitCode,
    ...(wire.hint === undefined ? {} : { hint: wire.hint }),
  });
  return Object.assign(error, { where: wire.where, excerpt: wire.excerpt, findings: wire.findings });
}
