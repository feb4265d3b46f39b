import type { KeyComponent } from "../../cache/index.js";
import type { Flag } from "../../parser/index.js";
import type { NetworkMode, SandboxSecurity } from "../../runtime/index.js";
import type { RunSettings } from "../run-settings.js";

/** What a RUN may reach and do, as its flags and the build's say. */
export interface RunPowers {
  readonly network: NetworkMode;
  readonly isInsecure: boolean;
}

/** Throws nothing: the plan has checked the flags. */
export function powersOf(flags: readonly Flag[], { network }: RunSettings): RunPowers {
  const value = (name: string): string | undefined => flags.find((flag) => flag.name === name)?.value;
  const mode = value("network");
  return {
    network: mode === "none" || mode === "host" ? mode : network.mode,
    isInsecure: value("security") === "insecure",
  };
}

/** Of the network, what was asked for and not what could be had; and names that the process can look up. */
export function powerComponents(powers: RunPowers, { network }: RunSettings): readonly KeyComponent[] {
  const { hosts, hostname, hostnameFile } = network;
  const entries = hosts === "image" ? "the image's" : hosts.map(({ names, address }) => [address, ...names]);
  return [
    { name: "network", value: powers.network === "private" ? "default" : powers.network, label: "--network" },
    ...(powers.isInsecure ? [{ name: "security", value: "insecure", label: "--security" }] : []),
    ...(entries.length === 0 ? [] : [{ name: "hosts", value: JSON.stringify(entries), label: "/etc/hosts" }]),
    ...(hostname === undefined ? [] : [{ name: "hostname", value: hostname, label: "--hostname" }]),
    ...(hostnameFile ? [] : [{ name: "hostname file", value: "the image's", label: "--no-hostname" }]),
  ];
}

/** Everything that cooper itself may do, in the user namespace that other processes have. */
export async function insecureSecurity({
  userNamespace,
}: Pick<SandboxSecurity, "userNamespace">): Promise<SandboxSecurity> {
  const { DEFAULT_SECURITY, ownCapabilities } = await import("../../runtime/index.js");
  return {
    ...DEFAULT_SECURITY,
    capabilities: ownCapabilities(),
    seccomp: { kind: "unconfined" },
    kernelFiles: "open",
    userNamespace,
  };
}
