import type { NetworkMode, SandboxDevice, SandboxLimits, SandboxSecurity } from "../runtime/index.js";

/** What every RUN of a build gets, whatever its own flags say; a container of `cooper run` gets the same. */
export interface RunSettings {
  readonly security: SandboxSecurity;
  readonly limits: SandboxLimits;
  readonly devices: readonly SandboxDevice[];
  readonly network: NetworkSettings;
}

/** The network of processes, and the names that they know. */
export interface NetworkSettings {
  /** For a RUN that says nothing, or `--network=default`. */
  readonly mode: NetworkMode;
  /** What the caller wants it to be; undefined: ours. */
  readonly hostname: string | undefined;
  /** False: the image's own /etc/hostname stays. */
  readonly hostnameFile: boolean;
  /** What /etc/hosts has beside the machine's lines; "image": the image's own stays. */
  readonly hosts: "image" | readonly HostEntry[];
  /** What /etc/resolv.conf says; an empty list: what the machine's says. "image": the image's own stays. */
  readonly dns: "image" | ResolverSettings;
}

export interface HostEntry {
  readonly names: readonly string[];
  /** An IP address, or "host-gateway": one at which this machine is reached. */
  readonly address: string;
}

export interface ResolverSettings {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** What a build may allow its Containerfile that it may not take for itself. */
export const ENTITLEMENTS = ["network.host", "security.insecure"] as const;
export type Entitlement = (typeof ENTITLEMENTS)[number];

/** How a process gets to the network: `plan` belongs in its SandboxPlan. */
export type StepNetwork =
  | {
      readonly kind: "private";
      readonly plan: { readonly network: "private"; readonly networkNamespace: string };
      /** Where the machine's resolvers answer. */
      readonly nameserver: string;
      /** Whether the machine's own addresses lead to it. */
      readonly reachesHost: boolean;
    }
  | { readonly kind: "host" | "none"; readonly plan: { readonly network: "host" | "none" } };
