import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { ioError } from "../errors.js";
import type { SandboxMount } from "../runtime/index.js";
import type { BuildEngine } from "./engine.js";

const BUILD_HOSTNAME = "buildcooper";

/** /etc/hosts, /etc/resolv.conf and /etc/hostname of a step: files of ours, mounted over the image's and never part of a layer. */
export interface NetworkFiles {
  readonly hostname: string;
  readonly mounts: readonly SandboxMount[];
  /** The heredoc script as an executable file, when one was given. */
  readonly scriptPath?: string;
}

let counter = 0;

/** Writes the files into a fresh directory below the build's scratch directory. */
export function networkFiles(
  engine: Pick<BuildEngine, "scratchDir">,
  options: { readonly hostname?: string; readonly script?: string } = {},
): NetworkFiles {
  const { hostname = BUILD_HOSTNAME, script } = options;
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
  const hosts = `${readHostFile("/etc/hosts") ?? "127.0.0.1\tlocalhost\n::1\tlocalhost\n"}127.0.1.1\t${hostname}\n`;
  const bind = (name: string, text: string): SandboxMount => ({
    type: "bind",
    source: write(name, text),
    target: `/etc/${name}`,
    readOnly: true,
  });
  return {
    hostname,
    mounts: [
      bind("hosts", hosts),
      bind("resolv.conf", readHostFile("/etc/resolv.conf") ?? ""),
      bind("hostname", `${hostname}\n`),
    ],
    ...(script === undefined ? {} : { scriptPath: write("script", script, 0o755) }),
  };
}

/** The sandbox shares the host's network, so the host's names and resolvers hold inside. */
function readHostFile(path: string): string | undefined {
  try {
    const text = readFileSync(path, "utf8");
    return text.endsWith("\n") || text === "" ? text : `${text}\n`;
  } catch {
    return undefined;
  }
}
