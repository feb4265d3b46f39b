import { availableParallelism } from "node:os";

type Limit = <T>(work: () => Promise<T>) => Promise<T>;

/** Lets at most `jobs` (default: cores) works run at once; the queue is loaded only where there can be more than one. */
export function limiter(jobs: number | undefined, stages: number): Limit {
  if (stages < 2) return (work) => work();
  const concurrency = Math.max(1, jobs ?? availableParallelism());
  let queue: Promise<{ add<T>(work: () => Promise<T>): Promise<T> }> | undefined;
  const open = async () => {
    const { default: PQueue } = await import("p-queue");
    const inner = new PQueue({ concurrency });
    return { add: <T>(work: () => Promise<T>): Promise<T> => inner.add(work) as Promise<T> };
  };
  return async (work) => (await (queue ??= open())).add(work);
}
