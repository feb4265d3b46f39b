import { BlockList, isIP, isIPv6 } from "node:net";

/** How far inside an address is, from the outside in. `link-local` also holds what no registry can be: metadata services, multicast. */
export type Reach = "public" | "private" | "loopback" | "link-local";
/** Why a registry sends us somewhere else. */
export type Referral = "token" | "upload" | "redirect";

// Source: IANA special-purpose address registries (RFC 6890); the metadata addresses of AWS (IPv6) and Alibaba lie in private ranges.
const RANGES: readonly (readonly [Reach, readonly string[]])[] = [
  [
    "link-local",
    ["169.254.0.0/16", "fe80::/10", "224.0.0.0/3", "ff00::/8", "fd00:ec2::254/128", "100.100.100.200/32"],
  ],
  ["loopback", ["127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128"]],
  [
    "private",
    [
      "10.0.0.0/8",
      "172.16.0.0/12",
      "192.168.0.0/16",
      "100.64.0.0/10",
      "198.18.0.0/15",
      "fc00::/7",
      "fec0::/10",
    ],
  ],
];

let lists: readonly (readonly [Reach, BlockList])[] | undefined;

function blockLists(): readonly (readonly [Reach, BlockList])[] {
  lists ??= RANGES.map(([reach, ranges]) => {
    const list = new BlockList();
    for (const range of ranges) {
      const [net = "", bits = ""] = range.split("/");
      list.addSubnet(net, Number(bits), isIPv6(net) ? "ipv6" : "ipv4");
    }
    return [reach, list] as const;
  });
  return lists;
}

/** The IPv4 address inside an IPv4-mapped or NAT64 address, else the address itself. */
function unwrapped(address: string): string {
  const canonical = isIPv6(address)
    ? new URL(`http://[${address.split("%")[0]}]`).hostname.slice(1, -1)
    : address;
  const words = /^(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (!words) return canonical;
  return words
    .slice(1)
    .flatMap((word) => [parseInt(word, 16) >> 8, parseInt(word, 16) & 255])
    .join(".");
}

/** The reach of an IP address; undefined for anything else. */
export function reachOf(address: string): Reach | undefined {
  if (isIP(address) === 0) return undefined;
  const plain = unwrapped(address);
  const family = isIPv6(plain) ? "ipv6" : "ipv4";
  return blockLists().find(([, list]) => list.check(plain, family))?.[0] ?? "public";
}

/**
 * Whether a registry at `from` may send us to an address of reach `to`. Nobody may send us further inside than it is itself,
 * or a hostile registry could use us to reach what only we can; a blob redirect carries no credentials and its
 * answer is believed only by its digest, so storage on a private address is fine.
 */
export function mayRefer(from: Reach, to: Reach, purpose: Referral): boolean {
  switch (to) {
    case "public":
      return true;
    case "private":
      return purpose === "redirect" || from === "private" || from === "loopback";
    case "loopback":
      return from === "loopback";
    case "link-local":
      return false;
  }
}
