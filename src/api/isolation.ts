import { resolve } from "node:path";
import type { IsolationOptions } from "../cooper.js";
import { CooperError, hasCode } from "../errors.js";
import type { EventListener } from "../events.js";
import type { DriverChoice, DriverRequest, Sandbox } from "../runtime/index.js";
import type { Snapshotter } from "../snapshot/index.js";
import type { Workshop } from "./workshop.js";

/** The driver of one build or container, chosen when first asked for. */
export interface Isolation {
  /** Throws `sandbox` where none works. */
  readonly driver: () => Promise<DriverChoice>;
  /** Says once what was chosen, when that is not the most that cooper offers. */
  readonly sandbox: () => Promise<Sandbox>;
  /** Its root file systems are of the kind that the driver wants, which is chosen when the first one is prepared. */
  readonly snapshotter: () => Promise<Snapshotter>;
}

/** Thrown when a driver that used to work does not any more and another one does; never leaves api/. */
export class DriverChanged extends Error {}

export function openIsolation(
  workshop: Workshop,
  options: IsolationOptions,
  emit: EventListener | undefined,
): Isolation {
  const request = requestOf(options);
  let chosen: Promise<DriverChoice> | undefined;
  let announced: Promise<void> | undefined;
  const driver = (): Promise<DriverChoice> => (chosen ??= workshop.driver(request));
  const announce = async (): Promise<void> => {
    const { describeChoice } = await import("../runtime/index.js");
    const message = describeChoice(await driver());
    if (message !== undefined) emit?.({ type: "notice", message });
  };
  return {
    driver,
    sandbox: async () => {
      const choice = await driver();
      await (announced ??= announce());
      const sandbox = await workshop.sandbox(choice);
      return choice.isRemembered ? doubting(sandbox, () => hasChanged(workshop, request, choice)) : sandbox;
    },
    snapshotter: async () => ({
      ...(await workshop.snapshotter()),
      prepare: async (diffIds, signal) => {
        const { traitsOf } = await import("../runtime/index.js");
        const { rootfs } = traitsOf((await driver()).driver);
        return (await workshop.snapshotter(rootfs)).prepare(diffIds, signal);
      },
      commit: async (rootfs, retime) => (await workshop.snapshotter(rootfs.kind)).commit(rootfs, retime),
    }),
  };
}

/** What the options ask for. Throws `usage`. */
export function requestOf({ isolation = "auto", runtime }: IsolationOptions): DriverRequest {
  if (runtime === undefined) return { isolation, runtime };
  if (runtime === "") throw new CooperError("usage", "the name of the OCI runtime is empty");
  if (isolation !== "auto" && isolation !== "oci") {
    throw new CooperError("usage", `an OCI runtime (${runtime}) has no part in isolation "${isolation}"`);
  }
  return { isolation: "oci", runtime: runtime.includes("/") ? resolve(runtime) : runtime };
}

/** Does work that may find its driver gone, once more with the one that there is now. */
export async function withDriver<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DriverChanged)) throw error;
    return work();
  }
}

/** A sandbox whose driver worked some time ago: a refusal is looked into, once. */
function doubting(inner: Sandbox, hasOther: () => Promise<boolean>): Sandbox {
  let looked: Promise<boolean> | undefined;
  return {
    driver: inner.driver,
    prewarm: (network) => inner.prewarm(network),
    run: async (plan, options) => {
      try {
        return await inner.run(plan, options);
      } catch (error) {
        if (!hasCode(error, "sandbox") || !(await (looked ??= hasOther()))) throw error;
        throw new DriverChanged();
      }
    },
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}

/** Tries everything anew. Throws what `selectDriver` does. */
async function hasChanged(
  workshop: Workshop,
  request: DriverRequest,
  choice: DriverChoice,
): Promise<boolean> {
  (await workshop.verdicts()).forget();
  const { driver, runtime } = await workshop.driver(request);
  return driver !== choice.driver || runtime !== choice.runtime;
}
