import { spawn } from "node:child_process";
import { CooperError, errnoOf } from "../errors.js";
import { abortedError } from "./failure.js";

export interface GitOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Without a word of git's, ms. */
  readonly idleMs: number;
}

export interface GitCall {
  /** A directory of ours. */
  readonly cwd: string;
  readonly args: readonly string[];
  /** For this call, added to the safe ones: `credential.*`, `http.*`. */
  readonly config: GitConfig;
  readonly signal: AbortSignal | undefined;
}

export type GitConfig = readonly (readonly [key: string, value: string])[];

/** How a run of git ended; `status` is -1 when we ended it because it went silent. */
export interface GitResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT = 64 * 1024 * 1024;

/** What the caller's environment may say to git: how to reach a server, and nothing about what git runs or writes. */
const KEPT = ["GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"];

/** What holds for every call, whatever a repository or a machine's configuration says. Source: git-config(1). */
const SAFE: GitConfig = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.attributesFile", "/dev/null"],
  ["core.excludesFile", "/dev/null"],
  ["core.autocrlf", "false"],
  ["core.symlinks", "true"],
  ["core.fileMode", "true"],
  ["advice.detachedHead", "false"],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["submodule.recurse", "false"],
  ["http.lowSpeedLimit", "1"],
  ["http.lowSpeedTime", "60"],
];

/** No question is asked, and a dead connection is noticed. */
const QUIET_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=30";

/**
 * Runs the host's git to its end. Its environment is ours without `GIT_*` but for a few, it reads no configuration but
 * what it is given here, asks nobody anything, speaks http, https, git and ssh only, and writes with umask 022. On abort,
 * and after `idleMs` without a word, all its processes are killed. Throws `unsupported` where git is not installed, `aborted`.
 */
export function runGit({ env, idleMs }: GitOptions, call: GitCall): Promise<GitResult> {
  const { signal } = call;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortedError());
    const child = spawn("/bin/sh", ["-c", 'umask 022; exec git "$@"', "sh", ...call.args], {
      cwd: call.cwd,
      env: gitEnvironment(env, call.config),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let silent = false;
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch (error) {
        if (errnoOf(error) !== "ESRCH") throw error;
      }
    };
    const timer = setTimeout(() => {
      silent = true;
      kill();
    }, idleMs);
    const said = { stdout: "", stderr: "" };
    const listen = (stream: "stdout" | "stderr") => (text: string) => {
      timer.refresh();
      said[stream] = (said[stream] + text).slice(-MAX_OUTPUT);
    };
    child.stdout.setEncoding("utf8").on("data", listen("stdout"));
    child.stderr.setEncoding("utf8").on("data", listen("stderr"));
    signal?.addEventListener("abort", kill);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", kill);
    };
    child.on("error", (error) => {
      settle();
      reject(new CooperError("io", `cannot start git: ${error.message}`, { cause: error }));
    });
    child.on("close", (code) => {
      settle();
      if (signal?.aborted) return reject(abortedError());
      // What a shell answers when there is no such program. Source: POSIX, "Exit Status for Commands".
      if (code === 127) return reject(gitMissing());
      resolve({ status: silent ? -1 : (code ?? 1), ...said });
    });
  });
}

function gitMissing(): CooperError {
  return new CooperError("unsupported", "a git repository cannot be fetched: git is not installed here", {
    hint: "install the package git",
  });
}

function gitEnvironment(
  env: GitOptions["env"],
  config: GitConfig,
): Readonly<Record<string, string | undefined>> {
  const ours = Object.entries(env).filter(
    ([name]) => (!name.startsWith("GIT_") || KEPT.includes(name)) && !/^(?:LC_|LANG)/.test(name),
  );
  const all = [...SAFE, ...config];
  const numbered = all.flatMap(([key, value], i) => [
    [`GIT_CONFIG_KEY_${i}`, key],
    [`GIT_CONFIG_VALUE_${i}`, value],
  ]);
  return {
    ...(env["GIT_SSH"] ? {} : { GIT_SSH_COMMAND: QUIET_SSH }),
    ...Object.fromEntries(ours),
    ...Object.fromEntries(numbered),
    GIT_CONFIG_COUNT: String(all.length),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TEMPLATE_DIR: "",
    GIT_ALLOW_PROTOCOL: "http:https:git:ssh",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "/bin/false",
    SSH_ASKPASS: "/bin/false",
    LC_ALL: "C",
  };
}

/**
 * What the user's own configuration says about reaching servers: `credential.*` and `http.*`. Nothing else of it can
 * change what is fetched or run. Empty when there is none.
 */
export async function userConfig(
  { env, idleMs }: GitOptions,
  cwd: string,
  signal: AbortSignal | undefined,
): Promise<GitConfig> {
  const home = env["HOME"];
  if (home === undefined) return [];
  const found: (readonly [string, string])[] = [];
  for (const file of [`${env["XDG_CONFIG_HOME"] || `${home}/.config`}/git/config`, `${home}/.gitconfig`]) {
    const { status, stdout } = await runGit(
      { env, idleMs },
      {
        cwd,
        args: ["config", "--file", file, "--includes", "--null", "--get-regexp", "^(credential|http)\\."],
        config: [],
        signal,
      },
    );
    if (status !== 0) continue;
    for (const item of stdout.split("\0").slice(0, -1)) {
      const newline = item.indexOf("\n");
      found.push(newline < 0 ? [item, "true"] : [item.slice(0, newline), item.slice(newline + 1)]);
    }
  }
  return found;
}
