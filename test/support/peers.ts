import { spawn } from "node:child_process";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { programPath } from "./programs.js";

export interface PeerResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PeerOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string;
  /** Returns a non-zero status instead of throwing. */
  readonly mayFail?: boolean;
}

type Peer = (args: readonly string[], options?: PeerOptions) => Promise<PeerResult>;

/**
 * Debian's own container tools, to say whether what we make is what they understand. They share one
 * storage under a temp directory of their own and never see the machine's. `close` removes it.
 */
export interface Peers {
  readonly dir: string;
  readonly buildah: Peer;
  readonly podman: Peer;
  readonly skopeo: Peer;
  readonly umoci: Peer;
  readonly crun: Peer;
  readonly runc: Peer;
  close(): Promise<void>;
}

/**
 * crun 1.8 refuses hosts that have cgroup v1 controllers and a cgroup v2 tree beside them, even when it is
 * told to use no cgroup. A mount namespace without the second tree makes it an ordinary v1 host.
 */
const WITHOUT_HYBRID_CGROUPS =
  'if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"';

/**
 * Opens the peers with an empty storage. Whoever opens calls `close`. `searchRegistries`: where they look for names without
 * a host, nowhere unless told.
 */
export function openPeers(options: { readonly searchRegistries?: readonly string[] } = {}): Peers {
  const dir = mkdtempSync(join(tmpdir(), "cooper-peers-"));
  const env = {
    ...process.env,
    ...writeConfiguration(dir, options.searchRegistries ?? []),
    NO_PROXY: "127.0.0.1,localhost",
    no_proxy: "127.0.0.1,localhost",
  };
  const plain =
    (program: string): Peer =>
    (args, options = {}) =>
      run(programPath(program) ?? program, args, env, options);
  const inNamespace =
    (program: string): Peer =>
    (args, options = {}) =>
      run(
        "unshare",
        [
          "--mount",
          "--propagation",
          "private",
          "sh",
          "-c",
          WITHOUT_HYBRID_CGROUPS,
          "sh",
          programPath(program) ?? program,
          ...args,
        ],
        env,
        options,
      );
  const podman = inNamespace("podman");
  return {
    dir,
    buildah: inNamespace("buildah"),
    podman,
    skopeo: plain("skopeo"),
    umoci: plain("umoci"),
    crun: inNamespace("crun"),
    runc: inNamespace("runc"),
    close: async () => {
      await podman(["rm", "--all", "--force"], { mayFail: true });
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Writes the configuration that keeps the tools inside `dir`; returns the environment that names it. */
function writeConfiguration(
  dir: string,
  searchRegistries: readonly string[],
): Readonly<Record<string, string>> {
  for (const part of ["store", "run", "tmp"]) mkdirSync(join(dir, part), { mode: 0o700 });
  const write = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  return {
    CONTAINERS_STORAGE_CONF: write(
      "storage.conf",
      `[storage]\ndriver = "${storageDriver(dir)}"\ngraphroot = "${dir}/store"\nrunroot = "${dir}/run"\n`,
    ),
    CONTAINERS_REGISTRIES_CONF: write(
      "registries.conf",
      `unqualified-search-registries = ${JSON.stringify(searchRegistries)}\n`,
    ),
    CONTAINERS_CONF: write(
      "containers.conf",
      `[containers]
default_ulimits = [${ulimits()}]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
`,
    ),
    REGISTRY_AUTH_FILE: write("auth.json", "{}"),
    PODMAN_IGNORE_CGROUPSV1_WARNING: "1",
    TMPDIR: join(dir, "tmp"),
  };
}

/** An overlay cannot have its upper directory on another overlay, as inside a container. */
function storageDriver(dir: string): "overlay" | "vfs" {
  const type = execFileSync("stat", ["--file-system", "--format=%T", dir], { encoding: "utf8" }).trim();
  return type === "overlayfs" ? "vfs" : "overlay";
}

/** The tools ask for more open files and processes than a hard limit may allow, and raising one needs a right that root may lack. */
function ulimits(): string {
  const hard = (flag: string): string =>
    execFileSync("bash", ["-c", `ulimit -H${flag}`], { encoding: "utf8" }).trim();
  const atMost = (value: string, most: number): number =>
    value === "unlimited" ? most : Math.min(Number(value), most);
  const files = atMost(hard("n"), 1_048_576);
  const processes = atMost(hard("u"), 32_768);
  return `"nofile=${files}:${files}", "nproc=${processes}:${processes}"`;
}

function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  options: PeerOptions,
): Promise<PeerResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const status = code ?? 128;
      if (status === 0 || options.mayFail === true) resolve({ status, stdout, stderr });
      else
        reject(
          new Error(`${[program, ...args].join(" ")}: ${signal ?? `exit ${status}`}\n${stdout}${stderr}`),
        );
    });
    child.stdin.on("error", () => undefined).end(options.input ?? "");
  });
}
