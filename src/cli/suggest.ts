/** The candidate a user most likely meant: one that continues what was typed, else the nearest within a third of its length in edits. */
export function nearest(typed: string, candidates: readonly string[]): string | undefined {
  const continued =
    typed.length >= 2 ? candidates.find((candidate) => candidate.startsWith(typed)) : undefined;
  if (continued !== undefined) return continued;
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(typed, candidate, bestDistance);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, substitutions and swaps of neighbours from `a` to `b`; anything from `limit` on is reported as `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const at = (up: number, left: number) => (up === 0 ? row : rows[i - up])?.[j - left] ?? limit;
      const differs = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(at(1, 0) + 1, at(0, 1) + 1, at(1, 1) + differs);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, at(2, 2) + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return Math.min(limit, rows.at(-1)?.at(-1) ?? limit);
}
