import { setTimeout as sleep } from "node:timers/promises";
import { abortedError, RegistryFailure } from "./failure.js";
import type { Timings } from "./transport.js";

/** How often and how patiently to try again. */
export interface Persistence {
  /** Further tries after the first. */
  readonly retries: number;
  readonly timings: Timings;
  readonly signal: AbortSignal | undefined;
  /** Told before a wait. */
  readonly notice: (message: string) => void;
}

/**
 * Calls `attempt` until it succeeds, fails for good, or has failed `retries` further times. A transient failure waits with
 * full jitter, or as long as `Retry-After` asks, at most a minute. `progressed` starts the count anew.
 */
export async function persist<T>(
  how: Persistence,
  what: string,
  attempt: (progressed: () => void) => Promise<T>,
): Promise<T> {
  let failures = 0;
  const progressed = () => {
    failures = 0;
  };
  for (;;) {
    try {
      return await attempt(progressed);
    } catch (error) {
      failures += 1;
      await waitOrGiveUp(how, what, error, failures);
    }
  }
}

/** Waits before the next try, or throws what ends the matter: `error` itself, after retries with the number of tries. */
export async function waitOrGiveUp(
  how: Persistence,
  what: string,
  error: unknown,
  failures: number,
): Promise<void> {
  if (!(error instanceof RegistryFailure) || !error.transient) throw error;
  if (failures > how.retries) throw failures === 1 ? error : gaveUp(error, failures);
  const { retryBaseMs, retryCapMs } = how.timings;
  const asked = error.retryAfterMs;
  const ms =
    asked === undefined
      ? Math.random() * Math.min(retryCapMs, retryBaseMs * 2 ** (failures - 1))
      : Math.min(asked, retryCapMs);
  const reason = error.status === undefined ? error.message : `the registry answered ${error.status}`;
  how.notice(`${what}: ${reason}; try ${failures + 1} of ${how.retries + 1} in ${(ms / 1000).toFixed(1)} s`);
  try {
    await sleep(ms, undefined, how.signal ? { signal: how.signal } : {});
  } catch {
    throw abortedError();
  }
}

/** Not transient any more: patience that wraps patience would multiply the tries. */
function gaveUp(error: RegistryFailure, tries: number): RegistryFailure {
  const { status, registryCodes, hint, cause } = error;
  return new RegistryFailure(error.code, `${error.message} (gave up after ${tries} tries)`, {
    registryCodes,
    cause,
    ...(status === undefined ? {} : { status }),
    ...(hint === undefined ? {} : { hint }),
  });
}
