import { chmodSync, chownSync } from "node:fs";
import { ioError } from "../../errors.js";
import type { SshMount } from "../../parser/index.js";
import { commonOf, componentOf } from "./common.js";
import type { MountSite } from "./index.js";
import { notGiven } from "./not-given.js";
import type { MountWork, OpenMount, PreparedMount } from "./types.js";
import { plainMount } from "./types.js";

/** Gives the process an ssh-agent that signs with the user's keys and can do nothing else; no key itself gets inside. */
export function prepareSsh(mount: SshMount, site: MountSite): PreparedMount {
  return { components: [componentOf(mount, site)], open: (work) => open(mount, site, work) };
}

let made = 0;

async function open(mount: SshMount, site: MountSite, { engine }: MountWork): Promise<OpenMount> {
  const { id, mode = 0o600, uid = 0, gid = 0 } = mount;
  const upstream = await engine.agent(id);
  if (upstream === undefined) {
    if (!mount.required) return plainMount([]);
    throw notGiven("ssh", id);
  }
  const { relayAgent } = await import("./agent-relay.js");
  made += 1;
  const path = `${engine.scratchDir()}/ssh-${made}`;
  const relay = await relayAgent(path, upstream);
  try {
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  } catch (error) {
    await relay[Symbol.asyncDispose]();
    throw ioError("give away the socket of", `ssh agent ${id}`, error);
  }
  // Source: BuildKit, which counts those of one RUN.
  const target = mount.target ?? `/run/buildkit/ssh_agent.${site.agent}`;
  const common = commonOf({ ...mount, target }, site);
  return {
    mounts: [{ type: "bind", source: path, ...common, options: ["nosuid", "nodev", "noexec"] }],
    env: { SSH_AUTH_SOCK: common.target },
    [Symbol.asyncDispose]: () => relay[Symbol.asyncDispose]() as Promise<void>,
  };
}
