import type { Entitlement, HostEntry, NetworkSettings } from "../builder/index.js";
import { ENTITLEMENTS, HOST_GATEWAY } from "../builder/index.js";
import type { BuildOptions, IsolationOptions } from "../cooper.js";
import { CooperError } from "../errors.js";

/** What the options say of the network and of names, every default filled in. Throws `usage`. */
export function networkSettings(options: IsolationOptions): NetworkSettings {
  const { network = "private", hostname, noHosts = false, noHostname = false, addHosts = [] } = options;
  const modes: readonly string[] = ["private", "host", "none"];
  if (!modes.includes(network))
    throw usage(`there is no network "${network}": it can be ${modes.join(", ")}`);
  if (noHosts && addHosts.length > 0) throw usage("--no-hosts and --add-host exclude each other");
  // Linux's own limit is 64 bytes.
  if (hostname !== undefined && !/^\w[\w.-]{0,63}$/.test(hostname))
    throw usage(`"${hostname}" cannot be a host name: up to 64 letters, digits, dots and hyphens can`);
  return {
    mode: network,
    hostname,
    hostnameFile: !noHostname,
    hosts: noHosts ? "image" : addHosts.map(hostEntry),
    dns: resolverSettings(options),
  };
}

/** What RUN may ask for: what is allowed by its name, and the network that every RUN gets anyhow. Throws `usage`. */
export function entitlements({ allow = [], network }: BuildOptions): ReadonlySet<Entitlement> {
  const known: readonly string[] = ENTITLEMENTS;
  const unknown = allow.find((word) => !known.includes(word));
  if (unknown !== undefined)
    throw usage(`there is nothing called "${unknown}" to allow: it can be ${known.join(" or ")}`);
  return new Set([...allow, ...(network === "host" ? (["network.host"] as const) : [])]);
}

function resolverSettings(options: IsolationOptions): NetworkSettings["dns"] {
  const { dns: servers = [], dnsSearch: search = [], dnsOptions = [] } = options;
  const words = [...search, ...dnsOptions];
  const bad = words.find((word) => !/^[\w.:-]+$/.test(word));
  if (bad !== undefined) throw usage(`"${bad}" cannot stand in /etc/resolv.conf`);
  const isGiven = servers.length + words.length > 0;
  if (isGiven && options.network === "none") throw usage("--dns is of no use with --network=none");
  if (servers.includes("none")) {
    if (servers.length + words.length === 1) return "image";
    throw usage("--dns none leaves the image's /etc/resolv.conf as it is, and excludes other --dns options");
  }
  const address = servers.find((server) => ipVersion(server) === 0);
  if (address !== undefined) throw usage(`--dns: "${address}" is not an IP address`);
  return { servers, search, options: dnsOptions };
}

/** `NAME[;NAME]:ADDRESS`, or with `=` as docker also has it; IPv6 may stand in brackets. */
function hostEntry(text: string): HostEntry {
  const [, given = "", address = ""] = /^([^:=]*)[:=](.*)$/s.exec(text) ?? [];
  const names = given.split(";");
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  if (!names.every((name) => /^[\w.-]+$/.test(name)) || (ipVersion(bare) === 0 && address !== HOST_GATEWAY))
    throw usage(`--add-host: "${text}" is not NAME:ADDRESS or NAME:${HOST_GATEWAY}`);
  return { names, address: bare };
}

function usage(message: string): CooperError {
  return new CooperError("usage", message);
}

/** 4, 6, or 0 for what is no address. Loaded when first asked: a cached build has no use for it. */
function ipVersion(text: string): number {
  return process.getBuiltinModule("node:net").isIP(text);
}
