import type { CooperError } from "../errors.js";
import { errnoOf, ioError } from "../errors.js";
import { manyLines, oneLine } from "./text.js";

/** Exit code of cooper's own failures, as podman's. */
export const FAILURE = 125;

interface Cause extends Error {
  readonly cause?: unknown;
}

/** When closing something fails after the work failed, the work's error is the one to tell. */
function told(error: unknown): unknown {
  if (error instanceof Error && error.name === "SuppressedError" && "suppressed" in error)
    return told(error.suppressed);
  return error;
}

/** What the machine lacks or breaks can stop any system call; it is no bug of ours, even where nobody expected it. */
const OF_THE_MACHINE: readonly (string | undefined)[] = [
  "ENOSPC",
  "EDQUOT",
  "EROFS",
  "EIO",
  "EMFILE",
  "ENFILE",
];

function asCooperError(error: unknown): CooperError | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error.name === "CooperError") return error as CooperError;
  if (!OF_THE_MACHINE.includes(errnoOf(error))) return undefined;
  const { syscall = "use", path = "a file" } = error as NodeJS.ErrnoException;
  return ioError(syscall, path, error);
}

/** What cooper exits with after this error: a failed RUN's own status, else 125. */
export function exitCodeOf(error: unknown): number {
  return asCooperError(told(error))?.exitCode ?? FAILURE;
}

/**
 * What the user reads about an error: the findings of a syntax error with their excerpts, one `Error:` line, and
 * indented lines for its place with an excerpt, and its hint. `debug` adds the stack and the causes. Ends with a newline.
 */
export function renderFailure(error: unknown, options: { readonly debug: boolean }): string {
  const cause = told(error);
  const known = asCooperError(cause);
  const findings = known?.findings ?? [];
  const lines = findings.map((finding) => `${manyLines(finding)}\n`);
  const message = known?.message ?? (cause instanceof Error ? cause.message : String(cause));
  lines.push(`Error: ${known ? "" : "internal error: "}${oneLine(message)}`);
  if (known?.where !== undefined && findings.length === 0 && !message.includes(known.where)) {
    lines.push(`  at ${oneLine(known.where)}`);
  }
  if (known?.excerpt !== undefined) {
    lines.push(...known.excerpt.split("\n").map((line) => `  ${manyLines(line)}`));
  }
  const hint = known ? known.hint : "this is a bug in cooper; COOPER_DEBUG=1 shows where";
  const isSaid = findings.some((finding) => hint !== undefined && finding.endsWith(`hint: ${hint}`));
  if (hint !== undefined && !isSaid && !(options.debug && !known)) lines.push(`  hint: ${oneLine(hint)}`);
  if (options.debug) lines.push(...stacks(cause));
  return `${lines.join("\n")}\n`;
}

function stacks(error: unknown): readonly string[] {
  const lines: string[] = [];
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = (at as Cause).cause, depth++) {
    lines.push(`${depth === 0 ? "" : "caused by "}${manyLines(at.stack ?? at.message)}`);
  }
  return lines;
}

/** The same as data, for `--progress json`. */
export function failureEvent(error: unknown): Readonly<Record<string, unknown>> {
  const cause = told(error);
  const known = asCooperError(cause);
  return {
    type: "error",
    code: known?.code ?? "internal",
    message: known?.message ?? (cause instanceof Error ? cause.message : String(cause)),
    exitCode: exitCodeOf(error),
    ...(known?.where === undefined ? {} : { where: known.where }),
    ...(known?.excerpt === undefined ? {} : { excerpt: known.excerpt }),
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
    ...(known && known.findings.length > 0 ? { findings: known.findings } : {}),
  };
}
