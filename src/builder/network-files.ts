import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { CooperError, ioError } from "../errors.js";
import type { SandboxMount } from "../runtime/index.js";
import type { BuildEngine } from "./engine.js";
import type { HostEntry, NetworkSettings, ResolverSettings, StepNetwork } from "./run-settings.js";

const BUILD_HOSTNAME = "buildcooper";
export const HOST_GATEWAY = "host-gateway";

/** /etc/hosts, /etc/resolv.conf and /etc/hostname of a step: files of ours, mounted over the image's and never part of a layer. */
export interface NetworkFiles {
  readonly hostname: string;
  readonly mounts: readonly SandboxMount[];
  /** The heredoc script as an executable file, when one was given. */
  readonly scriptPath?: string;
}

let counter = 0;

/** Writes the files into a fresh directory below the build's scratch directory. `hostname`: where the settings have none. */
export function networkFiles(
  engine: Pick<BuildEngine, "scratchDir">,
  settings: NetworkSettings,
  network: StepNetwork,
  options: { readonly hostname?: string; readonly script?: string } = {},
): NetworkFiles {
  const { script } = options;
  const hostname = settings.hostname ?? options.hostname ?? BUILD_HOSTNAME;
  counter += 1;
  const dir = `${engine.scratchDir()}/step-${counter}`;
  mkdirSync(dir);
  const write = (name: string, text: string, mode = 0o644): string => {
    const path = `${dir}/${name}`;
    try {
      writeFileSync(path, text);
      // The mode of the call is cut by the umask.
      chmodSync(path, mode);
    } catch (error) {
      throw ioError("write", path, error);
    }
    return path;
  };
  const bind = (name: string, text: string): SandboxMount => ({
    type: "bind",
    source: write(name, text),
    target: `/etc/${name}`,
    readOnly: true,
  });
  const { hosts, dns } = settings;
  return {
    hostname,
    mounts: [
      ...(hosts === "image" ? [] : [bind("hosts", hostsFile(hosts, hostname, network))]),
      ...(dns === "image" ? [] : [bind("resolv.conf", resolverFile(dns, network))]),
      ...(settings.hostnameFile ? [bind("hostname", `${hostname}\n`)] : []),
    ],
    ...(script === undefined ? {} : { scriptPath: write("script", script, 0o755) }),
  };
}

/** The caller's lines come first, since the first line with a name counts. */
function hostsFile(entries: readonly HostEntry[], hostname: string, network: StepNetwork): string {
  const lines = entries.map(({ names, address }) => {
    const given = address === HOST_GATEWAY ? gatewayAddress(names, network) : address;
    return `${given}\t${names.join(" ")}\n`;
  });
  const machine = readHostFile("/etc/hosts") ?? "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
  return `${lines.join("")}${machine}127.0.1.1\t${hostname}\n`;
}

function gatewayAddress(names: readonly string[], network: StepNetwork): string {
  if (network.kind === "host") return "127.0.0.1";
  const found = Object.values(networkInterfaces())
    .flat()
    .find((each) => each?.internal === false && each.family === "IPv4");
  const reachable = network.kind !== "private" || network.reachesHost;
  if (found && reachable) return found.address;
  const why = reachable
    ? "this machine has no address but its loopback's"
    : "pasta leads to no service of this machine";
  throw new CooperError("unsupported", `--add-host ${names.join(";")}:${HOST_GATEWAY}: ${why}`, {
    hint: reachable ? "give an address, or use --network=host" : "install slirp4netns, or use --network=host",
  });
}

/** Without a network there is nobody to ask. */
function resolverFile({ servers, search, options }: ResolverSettings, network: StepNetwork): string {
  if (network.kind === "none") return "";
  const machine = readHostFile("/etc/resolv.conf") ?? "";
  const changed = servers.length + search.length + options.length > 0;
  if (network.kind === "host" && !changed) return machine;
  const lines = machine.split("\n");
  const of = (...words: readonly string[]): readonly string[] =>
    lines.filter((line) => words.includes(line.trim().split(/\s/, 1)[0] ?? ""));
  const mine = network.kind === "private" ? [`nameserver ${network.nameserver}`] : of("nameserver");
  return [
    // "." alone: no domain at all.
    ...(search.length === 0
      ? of("search", "domain")
      : search.includes(".")
        ? []
        : [`search ${search.join(" ")}`]),
    ...(servers.length === 0 ? mine : servers.map((server) => `nameserver ${server}`)),
    ...(options.length === 0 ? of("options") : [`options ${options.join(" ")}`]),
  ]
    .map((line) => `${line}\n`)
    .join("");
}

function readHostFile(path: string): string | undefined {
  try {
    const text = readFileSync(path, "utf8");
    return text.endsWith("\n") || text === "" ? text : `${text}\n`;
  } catch {
    return undefined;
  }
}
