/** The highest growth of this process's resident memory, in bytes, while `work` runs. */
export async function peakOf(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let peak = before;
  const look = (): void => void (peak = Math.max(peak, process.memoryUsage.rss()));
  const timer = setInterval(look, 2);
  try {
    await work();
    look();
  } finally {
    clearInterval(timer);
  }
  return peak - before;
}
