// Finds a Docker daemon whose BuildKit can be asked, or starts one for this run.
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { programPath } from "../../test/support/programs.js";

interface DockerResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A daemon that answers. `close` stops it where this run has started it. */
export interface Docker {
  readonly version: string;
  /** Flags that a build there needs. */
  readonly buildFlags: readonly string[];
  /** Runs the `docker` command. Throws on a non-zero status unless told that it may fail. */
  run(args: readonly string[], options?: { readonly mayFail?: boolean }): Promise<DockerResult>;
  close(): Promise<void>;
}

/** The first release whose daemon builds with BuildKit unless told otherwise, and saves what OCI tools read. */
const OLDEST = 23;

/** A daemon, or why there is none. `start`: where none answers, one may be started for this run (as root). */
export async function openDocker(options: { readonly start: boolean }): Promise<Docker | string> {
  const program = programPath("docker");
  if (program === undefined) return "no docker command is installed";
  const running = command(program, process.env);
  const version = await serverVersion(running);
  if (version !== undefined) return usable(running, version, [], () => Promise.resolve());
  if (!options.start) return "no Docker daemon answers";
  return startDaemon(program);
}

type Run = Docker["run"];

function command(program: string, env: NodeJS.ProcessEnv): Run {
  return async (args, { mayFail = false } = {}) => {
    const result = await new Promise<DockerResult>((resolve) => {
      execFile(program, args, { env, maxBuffer: 64 << 20 }, (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : Number(error.code ?? 128), stdout, stderr }),
      );
    });
    if (result.status !== 0 && !mayFail) throw new Error(`docker ${args.join(" ")}: ${result.stderr}`);
    return result;
  };
}

async function serverVersion(run: Run): Promise<string | undefined> {
  const { status, stdout } = await run(["version", "--format", "{{.Server.Version}}"], { mayFail: true });
  return status === 0 ? stdout.trim() : undefined;
}

async function usable(
  run: Run,
  version: string,
  buildFlags: readonly string[],
  close: () => Promise<void>,
): Promise<Docker | string> {
  const reason = await unusable(run, version);
  if (reason === undefined) return { version, buildFlags, run, close };
  await close();
  return reason;
}

async function unusable(run: Run, version: string): Promise<string | undefined> {
  if (Number.parseInt(version, 10) < OLDEST)
    return `the Docker daemon is ${version}, ${OLDEST} is the oldest that will do`;
  const { status } = await run(["buildx", "version"], { mayFail: true });
  return status === 0 ? undefined : "docker has no buildx (Debian package docker-buildx)";
}

async function startDaemon(program: string): Promise<Docker | string> {
  const daemon = programPath("dockerd");
  if (daemon === undefined) return "no Docker daemon answers, and no dockerd is installed to start one";
  if (process.geteuid?.() !== 0) return "no Docker daemon answers, and only root can start one";
  const version = await installedVersion(daemon);
  if (Number.parseInt(version, 10) < OLDEST)
    return `no Docker daemon answers, and the installed dockerd is ${version}: ${OLDEST} is the oldest that will do`;
  const dir = mkdtempSync(join(tmpdir(), "cooper-dockerd-"));
  const child = spawnDaemon(daemon, dir);
  const close = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null && child.kill("SIGTERM"))
      await once(child, "exit");
    rmSync(dir, { recursive: true, force: true });
  };
  const run = command(program, {
    ...process.env,
    DOCKER_HOST: `unix://${dir}/d.sock`,
    DOCKER_CONFIG: join(dir, "config"),
  });
  const failed = await untilAnswering(child, run);
  if (failed === undefined) return usable(run, version, ["--network=none"], close);
  await close();
  return `no Docker daemon answers, and dockerd could not be started: ${failed}`;
}

async function installedVersion(daemon: string): Promise<string> {
  const stdout = await new Promise<string>((resolve) => {
    execFile(daemon, ["--version"], (_, text) => resolve(text));
  });
  return /version ([\d.]+)/.exec(stdout)?.[1] ?? "0";
}

/** Without networks of its own: nothing of the machine is changed but cgroups and mounts, which go with it. */
function spawnDaemon(daemon: string, dir: string): ChildProcess {
  mkdirSync(join(dir, "config"));
  writeFileSync(join(dir, "daemon.json"), "{}\n");
  return spawn(
    daemon,
    [
      `--config-file=${dir}/daemon.json`,
      `--host=unix://${dir}/d.sock`,
      `--data-root=${dir}/data`,
      `--exec-root=${dir}/exec`,
      `--pidfile=${dir}/pid`,
      "--bridge=none",
      "--iptables=false",
      "--ip6tables=false",
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
}

/** Undefined once it answers; else the daemon's last line. */
async function untilAnswering(child: ChildProcess, run: Run): Promise<string | undefined> {
  let log = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-4000)));
  child.on("error", (error) => (log = error.message));
  for (let tries = 0; tries < 300 && child.exitCode === null; tries += 1) {
    if ((await serverVersion(run)) !== undefined) return undefined;
    await sleep(100);
  }
  return log.trim().split("\n").at(-1) ?? "it does not answer";
}
