import type { BuildEngine } from "./engine.js";
import type { StepNetwork } from "./run-settings.js";

const LEADING = /^(?:https?|ftp|all)_proxy$/i;

/**
 * Tells of the first proxy at a loopback address: in a network of its own a process meets only itself there, and what it gets to
 * see is a refused connection.
 */
export async function noticeOfProxies(
  env: Readonly<Record<string, string>>,
  network: StepNetwork,
  { notice }: Pick<BuildEngine, "notice">,
): Promise<void> {
  const proxies = Object.entries(env).filter(([name]) => LEADING.test(name));
  if (network.kind !== "private" || proxies.length === 0) return;
  const { isLoopbackHost, proxyUrl } = await import("../net/index.js");
  for (const [name, text] of proxies) {
    const url = proxyUrl(text);
    if (url === undefined || !isLoopbackHost(url.hostname)) continue;
    const other = network.reachesHost ? ", or name an address of this machine at which it listens" : "";
    const message = `${name} leads to ${url.host}, where a process with a network of its own does not find this machine's proxy: use --network=host${other}`;
    return notice({ code: "proxy", message });
  }
}
