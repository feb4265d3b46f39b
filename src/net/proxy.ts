import { BlockList, isIP, isIPv6 } from "node:net";
import { isLoopbackHost } from "./hosts.js";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for a URL, from `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy` (lower case first, as curl does).
 * `no_proxy` holds `*`, names (with all below them), `.domains`, addresses and CIDR ranges, each with an optional port.
 * This machine itself is never reached through a proxy.
 */
export function proxyFor(url: URL, env: Env): URL | undefined {
  const get = (name: string) => env[name.toLowerCase()] || env[name];
  const text = get(url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY") || get("ALL_PROXY");
  if (!text || isLoopbackHost(url.hostname)) return undefined;
  const excluded = (get("NO_PROXY") ?? "")
    .split(/[\s,]+/)
    .some((entry) => entry !== "" && covers(entry.toLowerCase(), url));
  return excluded ? undefined : new URL(withScheme(text));
}

/** What a variable's value says; undefined when it is no URL. */
export function proxyUrl(text: string): URL | undefined {
  return URL.canParse(withScheme(text)) ? new URL(withScheme(text)) : undefined;
}

function withScheme(text: string): string {
  return text.includes("://") ? text : `http://${text}`;
}

function covers(entry: string, url: URL): boolean {
  if (entry === "*") return true;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const [net, bits] = entry.split("/");
  if (bits !== undefined)
    return net !== undefined && /^\d{1,3}$/.test(bits) && inRange(host, net, Number(bits));
  const match = /^(?:\[(.*)\]|([^:]*)|(.*:.*:.*))(?::(\d+))?$/.exec(entry);
  const name = (match?.[1] ?? match?.[2] ?? match?.[3] ?? entry).replace(/^\*?\./, "");
  const port = match?.[4];
  if (port !== undefined && port !== (url.port || (url.protocol === "https:" ? "443" : "80"))) return false;
  return host === name || host.endsWith(`.${name}`);
}

function inRange(host: string, net: string, bits: number): boolean {
  const family = isIPv6(net) ? "ipv6" : "ipv4";
  const fits = isIP(host) !== 0 && isIP(host) === isIP(net) && bits <= (family === "ipv6" ? 128 : 32);
  if (!fits) return false;
  const list = new BlockList();
  list.addSubnet(net, bits, family);
  return list.check(host, family);
}
