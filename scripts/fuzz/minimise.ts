/** Milliseconds. A text that is slow takes its time at every attempt. */
const MOST_TIME = 15_000;

/**
 * A shorter text that still has the fault: pieces are left out, first large ones, then small ones, until nothing more can
 * go or `attempts` or the time is used up.
 */
export async function minimised(
  text: string,
  hasFault: (text: string) => Promise<boolean>,
  attempts = 3000,
): Promise<string> {
  const until = Date.now() + MOST_TIME;
  let best = text;
  let left = attempts;
  for (let size = Math.ceil(best.length / 2); size > 0 && left > 0;) {
    let shorter = false;
    for (let at = 0; at < best.length && left > 0 && Date.now() < until; left--) {
      const without = best.slice(0, at) + best.slice(at + size);
      if (await hasFault(without)) {
        best = without;
        shorter = true;
      } else at += size;
    }
    if (!shorter || size > best.length)
      size = size === 1 ? 0 : Math.ceil(Math.min(size, best.length + 1) / 2);
  }
  return best;
}
