import type { BuildOptions, IsolationOptions } from "../../cooper.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";

/** The flags of `build` and `run` about the network and names. */
export const networkFlags = {
  network: {
    kind: "string",
    value: "MODE",
    choices: ["default", "private", "host", "none"],
    help: "private (default): apart from this machine's; host: this machine's; none",
  },
  "add-host": {
    kind: "list",
    value: "NAME:IP",
    help: "a line for /etc/hosts; host-gateway instead of IP is this machine",
  },
  dns: {
    kind: "list",
    value: "IP",
    help: "a name server instead of this machine's; none: the image's file stays",
  },
  "dns-search": { kind: "list", value: "DOMAIN", help: "a domain in which names are looked up; .: none" },
  "dns-option": { kind: "list", value: "OPTION", help: "an option for /etc/resolv.conf" },
  "no-hosts": { kind: "boolean", help: "leave the image's /etc/hosts as it is" },
  "no-hostname": { kind: "boolean", help: "leave the image's /etc/hostname as it is" },
} as const satisfies FlagTable;

/** Only `build` has these. */
export const entitlementFlags = {
  hostname: { kind: "string", value: "NAME", help: "host name that RUN sees" },
  allow: {
    kind: "list",
    value: "WORD",
    help: "network.host or security.insecure: RUN may ask for that network, that security",
  },
} as const satisfies FlagTable;

type Given = Flags<typeof networkFlags> & { readonly hostname?: string | undefined };

/** The flags as options; what was not given stays out. */
export function networkOptions(given: Given): IsolationOptions {
  const { network, hostname, dns } = given;
  const mode = network === "default" ? "private" : network;
  const { "add-host": addHosts, "dns-search": dnsSearch, "dns-option": dnsOptions } = given;
  return {
    ...(mode === "private" || mode === "host" || mode === "none" ? { network: mode } : {}),
    ...(addHosts.length === 0 ? {} : { addHosts }),
    ...(dns.length === 0 ? {} : { dns }),
    ...(dnsSearch.length === 0 ? {} : { dnsSearch }),
    ...(dnsOptions.length === 0 ? {} : { dnsOptions }),
    ...(given["no-hosts"] === true ? { noHosts: true } : {}),
    ...(given["no-hostname"] === true ? { noHostname: true } : {}),
    ...(hostname === undefined ? {} : { hostname }),
  };
}

const WORDS = ["network.host", "security.insecure"] as const satisfies BuildOptions["allow"];

/** `--allow A,B`. Throws `usage` for what cannot be allowed. */
export function allowOption(given: Flags<typeof entitlementFlags>): Pick<BuildOptions, "allow"> {
  const allow = given.allow
    .flatMap((text) => text.split(","))
    .map((text) => {
      const word = WORDS.find((known) => known === text);
      if (word) return word;
      throw usage(`--allow: "${text}" is not one of: ${WORDS.join(", ")}`);
    });
  return allow.length === 0 ? {} : { allow };
}
