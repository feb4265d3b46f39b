import type { ChildProcess } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import type { BuildOptions } from "../cooper.js";
import { CooperError, errnoOf } from "../errors.js";

/** The agents of a build, by the ids that `RUN --mount=type=ssh` names. */
export interface SshAgents extends AsyncDisposable {
  /** The socket of an agent; undefined for an id that was not given. Throws `io`, `usage`. */
  readonly socket: (id: string) => Promise<string | undefined>;
}

/** What was given for an id: the socket of an agent, or files with keys. */
type Agent = { readonly socket: string } | { readonly keys: readonly string[] };

/**
 * Each id has paths: none for the agent of $SSH_AUTH_SOCK, that of an agent's socket, or those of private keys, for which
 * an agent of our own is started when first asked for; it ends with the build. Throws `usage` and `not-found` at once.
 */
export function openSshAgents(given: BuildOptions["ssh"] = {}, scratchDir: () => string): SshAgents {
  const known = new Map(Object.entries(given).map(([id, paths]) => [id, agentOf(id, paths)]));
  const started = new Map<string, Promise<KeyAgent>>();
  return {
    socket: async (id) => {
      const agent = known.get(id);
      if (agent === undefined || "socket" in agent) return agent?.socket;
      const starting = started.get(id) ?? startAgent(id, agent.keys, `${scratchDir()}/agent-${started.size}`);
      started.set(id, starting);
      return (await starting).socket;
    },
    [Symbol.asyncDispose]: async () => {
      for (const result of await Promise.allSettled(started.values()))
        if (result.status === "fulfilled") await result.value.stop();
    },
  };
}

/** The same options with the agent of this process' environment named: another process may have another. */
export function withAgents<T extends BuildOptions>(options: T): T {
  const socket = process.env["SSH_AUTH_SOCK"];
  if (options.ssh === undefined || socket === undefined || socket === "") return options;
  const named = Object.entries(options.ssh).map(([id, paths]) => [id, paths.length > 0 ? paths : [socket]]);
  return { ...options, ssh: Object.fromEntries(named) as NonNullable<BuildOptions["ssh"]> };
}

function agentOf(id: string, given: readonly string[]): Agent {
  const environment = process.env["SSH_AUTH_SOCK"] ?? "";
  if (given.length === 0 && environment === "")
    throw new CooperError("usage", `ssh ${id}: no agent is running: SSH_AUTH_SOCK is not set`, {
      hint: `start one (eval $(ssh-agent); ssh-add), or name a key: --ssh ${id}=PATH`,
    });
  const paths = (given.length === 0 ? [environment] : given).map((path) => resolve(path));
  const missing = paths.find((path) => !existsSync(path));
  if (missing !== undefined) throw new CooperError("not-found", `ssh ${id}: there is no ${missing}`);
  const sockets = paths.filter((path) => statSync(path).isSocket());
  const [socket] = sockets;
  if (socket === undefined) return { keys: paths };
  if (paths.length === 1) return { socket };
  throw new CooperError("usage", `ssh ${id}: ${socket} is an agent's socket: it can only be given alone`);
}

interface KeyAgent {
  readonly socket: string;
  readonly stop: () => Promise<void>;
}

async function startAgent(id: string, keys: readonly string[], socket: string): Promise<KeyAgent> {
  const { spawn } = await import("node:child_process");
  // Ends with us, however that happens. The socket by its name alone: its path may be longer than a socket's can be.
  const argv = ["--pdeathsig", "KILL", "--", "ssh-agent", "-D", "-a", basename(socket)];
  const child = spawn("setpriv", argv, { cwd: dirname(socket), stdio: ["ignore", "ignore", "pipe"] });
  const end = endOf(child);
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await end;
  };
  try {
    await listening(id, socket, end);
    for (const key of keys) await addKey(id, key, socket);
    return { socket, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Its last words. */
function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
    child.on("error", (error) => resolve(error.message));
    child.on("close", () => resolve(said.trim().split("\n").at(-1) ?? ""));
  });
}

async function listening(id: string, socket: string, end: Promise<string>): Promise<void> {
  let words: string | undefined;
  void end.then((said) => (words = said));
  while (!existsSync(socket)) {
    if (words !== undefined)
      throw new CooperError("io", `ssh ${id}: cannot start ssh-agent: ${words}`, {
        hint: "keys in files need ssh-agent and ssh-add (package openssh-client); or give the socket of an agent",
      });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function addKey(id: string, key: string, socket: string): Promise<void> {
  const { execFile } = await import("node:child_process");
  const env = { ...process.env, SSH_AUTH_SOCK: basename(socket), SSH_ASKPASS_REQUIRE: "never" };
  const cwd = dirname(socket);
  const failure = await new Promise<string | undefined>((resolve) => {
    const child = execFile("ssh-add", ["-q", key], { cwd, env, encoding: "utf8" }, (error, _out, said) => {
      const line = said.trim().split("\n").at(-1) ?? "";
      resolve(error === null ? undefined : errnoOf(error) === "ENOENT" || line === "" ? error.message : line);
    });
    child.stdin?.end();
  });
  if (failure !== undefined)
    throw new CooperError("usage", `ssh ${id}: the key ${key} cannot be used: ${failure}`, {
      hint: "a key with a passphrase must be in an agent: ssh-add KEY, then --ssh default",
    });
}
