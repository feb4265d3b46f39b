import { Session } from "node:inspector/promises";

/** Counts how much of the product's code runs. */
export interface WorkMeter {
  /** Entries of its functions and blocks during `work`. Loops inside the engine's own functions are not seen. */
  during(work: () => unknown): Promise<number>;
}

/** What runs is counted by the engine, so unlike time it is the same on every machine; only code that is loaded after this is. */
export async function openWorkMeter(): Promise<WorkMeter> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  const take = async (): Promise<number> => {
    const { result } = await session.post("Profiler.takePreciseCoverage");
    const ours = result.filter(({ url }) => /\/src\/[a-z]/.test(url));
    const ranges = ours.flatMap((script) => script.functions.flatMap((one) => one.ranges));
    return ranges.reduce((sum, range) => sum + range.count, 0);
  };
  return {
    async during(work) {
      await take();
      await work();
      return take();
    },
  };
}
