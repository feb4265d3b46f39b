import type { Refusal } from "./helper-plan.js";

/** Thrown in the helper when a process cannot be started; crosses to the driver as its `refusal`. */
export interface RefusedError extends Error {
  readonly refusal: Refusal;
}

/** Runs a part of the set-up; what it throws becomes a refusal that says what was being done. The innermost one wins. */
export function doing<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw refusedError(refusalOf(error, what));
  }
}

/** A refusal to throw. */
export function refusedError(refusal: Refusal): RefusedError {
  return Object.assign(new Error(refusal.doing), { refusal });
}

/** Any error as a refusal. */
export function refusalOf(error: unknown, what = "start the process"): Refusal {
  if (!(error instanceof Error)) return { doing: what, message: String(error) };
  if ("refusal" in error) return (error as RefusedError).refusal;
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  return {
    doing: what,
    message: error.message,
    ...(syscall === undefined ? {} : { call: syscall }),
    ...(code === undefined ? {} : { errno: code }),
    ...(path === undefined ? {} : { path }),
  };
}

/** The errno's name of a failed call, else undefined. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
