import type { StepNetwork } from "../builder/index.js";
import type { EventListener } from "../events.js";
import type { NetworkMode, NetworkOutcome, PrivateNetwork } from "../runtime/index.js";
import type { Isolation } from "./isolation.js";

/** The network of one build or container; gone after dispose. */
export interface StepNetworks extends AsyncDisposable {
  /** Makes the private network ahead of its first user; what stands in its way is told to that one. */
  prepare(): void;
  /** Where there can be no private network: the machine's, and one warning that says so and why. */
  of(mode: NetworkMode): Promise<StepNetwork>;
}

export function stepNetworks(isolation: Isolation, emit: EventListener): StepNetworks {
  let network: PrivateNetwork | undefined;
  let told = false;
  /** Undefined for the driver that has none to give: that it shares the machine's is told when it is chosen. */
  const open = async (): Promise<NetworkOutcome | undefined> => {
    const { driver } = await isolation.driver();
    if (driver === "chroot") return undefined;
    const runtime = await import("../runtime/index.js");
    network ??= runtime.privateNetwork();
    return network.open();
  };
  return {
    prepare: () => void open().catch(() => undefined),
    of: async (mode) => {
      if (mode !== "private") return { kind: mode, plan: { network: mode } };
      const outcome = await open();
      if (outcome?.kind === "private") {
        const { namespace, nameserver, reachesHost } = outcome;
        return {
          kind: "private",
          plan: { network: "private", networkNamespace: namespace },
          nameserver,
          reachesHost,
        };
      }
      if (outcome && !told)
        emit({ type: "warning", code: "network", message: sharedNetwork(outcome.reason) });
      told = true;
      return { kind: "host", plan: { network: "host" } };
    },
    [Symbol.asyncDispose]: async () => network?.[Symbol.asyncDispose](),
  };
}

function sharedNetwork(reason: string): string {
  return `processes share the network of this machine, its loopback services included: ${reason}; with --network=host this is not told`;
}
