import type { DriverName } from "./drivers.js";
import type { HelperIdMapping } from "./id-mapping.js";

/** Of nosuid, nodev and noexec, those that a mount is to have beside what its kind always has. */
export type MountOption = "nosuid" | "nodev" | "noexec";

interface CommonMount {
  /** Absolute path inside the root file system, resolved there without leaving it. */
  readonly target: string;
  readonly options?: readonly MountOption[];
}

/** A file, directory or socket of the host. */
export interface BindMount extends CommonMount {
  readonly type: "bind";
  /** Absolute path of the host. */
  readonly source: string;
  /** A path below `source` to mount instead of it, resolved without ever leaving `source`, whoever changes it meanwhile. */
  readonly inside?: string;
  readonly readOnly: boolean;
  /**
   * A directory of cooper's own: where nothing may be mounted, what is in it is moved to the target and back, and nobody
   * else has it meanwhile. Without this a writable bind is refused there.
   */
  readonly movable?: true;
  /** Its owners are the machine's own: in a user namespace of the process's own they are nobody. */
  readonly foreign?: true;
}

export interface TmpfsMount extends CommonMount {
  readonly type: "tmpfs";
  readonly readOnly?: boolean;
  readonly sizeBytes?: number;
  /** Permission bits; default 1777. */
  readonly mode?: number;
}

/** A path of another root file system; what is written to it is gone with the process. */
export interface LayersMount extends CommonMount {
  readonly type: "layers";
  readonly rootfs: SandboxRootfs;
  /** Absolute path in it, resolved there without leaving it. */
  readonly inside: string;
  readonly readOnly: boolean;
  /** As of a bind: its directories are the machine's. */
  readonly foreign?: true;
}

/** A file of these bytes that exists in memory only. */
export interface SecretMount extends CommonMount {
  readonly type: "secret";
  readonly content: Uint8Array;
  readonly readOnly: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** One mount inside a sandbox, in order. */
export type SandboxMount = BindMount | TmpfsMount | LayersMount | SecretMount;

/**
 * A root file system: an overlay over `lowerDirs` (topmost first), mounted inside the sandbox's own mount namespace; or,
 * for the driver that may not mount, a directory that is changed where it lies.
 */
export type SandboxRootfs =
  | {
      readonly kind: "overlay";
      readonly lowerDirs: readonly string[];
      readonly upperDir: string;
      readonly workDir: string;
    }
  | {
      readonly kind: "directory";
      readonly dir: string;
      /** Called before `run` returns, with what was moved away for the process and put back: it is unchanged, whatever its change time says. */
      restored(files: readonly RestoredFile[]): void;
    };

/** Inode number and change time (ns since 1970), decimal. */
export interface RestoredFile {
  readonly inode: string;
  readonly changed: string;
}

/** What a process may do to the system beyond its files. */
export interface SandboxSecurity {
  /** Names as `CAP_CHOWN`: the bounding set, and what root has. */
  readonly capabilities: readonly string[];
  /** `profile`: JSON as docker's and podman's profiles are written, read from `path`. */
  readonly seccomp:
    | { readonly kind: "default" | "unconfined" }
    | { readonly kind: "profile"; readonly profile: string; readonly path: string };
  readonly noNewPrivileges: boolean;
  /** "open": no file of /proc and /sys is hidden or made read-only (RUN --security=insecure). */
  readonly kernelFiles: "guarded" | "open";
  readonly userNamespace: "shared" | OwnUserNamespace;
}

/** A user namespace whose root is nobody on this machine. Gone after dispose, and with cooper. */
export interface OwnUserNamespace extends AsyncDisposable {
  /** How many ids it has, from 0 on. */
  readonly size: number;
  /**
   * Makes it, or says what was made before. `scratchDir`: where the root file systems of its processes lie, whose owners
   * will be mapped; `userNamespace`: whether cooper is in one itself. Throws `unsupported` where there can be none,
   * `sandbox` where it just is not possible now.
   */
  open(place: { readonly scratchDir: string; readonly userNamespace: boolean }): Promise<HelperIdMapping>;
}

/** A resource limit of setrlimit(2). Hard limits are never raised above cooper's own. */
export interface Ulimit {
  /** As in `ulimit`'s long names: `nofile`, `nproc`, `core`, … */
  readonly name: string;
  /** -1: no limit. */
  readonly soft: number;
  readonly hard: number;
}

/** What a process may use. A limit that was asked for and cannot be had is an error; of the defaults, a warning. */
export interface SandboxLimits {
  /** Bytes of memory; undefined: no limit. */
  readonly memoryBytes?: number;
  /** Bytes of memory and swap together, -1: no limit; undefined: twice the memory. Only beside `memoryBytes`. */
  readonly memorySwapBytes?: number;
  /** Processors, as a decimal number; undefined: no limit. */
  readonly cpus?: number;
  /** Processes and threads; 0: no limit. */
  readonly pids: { readonly limit: number; readonly asked: boolean };
  readonly ulimits: readonly Ulimit[];
  /** Bytes of /dev/shm; 0: no limit. */
  readonly shmBytes: number;
}

/** A device node of the host that appears inside. */
export interface SandboxDevice {
  readonly source: string;
  readonly target: string;
  /** Of "r", "w" and "m". */
  readonly permissions: string;
}

export type NetworkMode = "private" | "host" | "none";

/** Everything about one process and what it sees, as data; a driver only executes it. */
export interface SandboxPlan {
  readonly rootfs: SandboxRootfs;
  readonly argv: readonly string[];
  /** Exactly what the process gets; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; made (0755, root) when it does not exist. */
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly hostname: string;
  /**
   * "host" shares the network of cooper itself; "none" is a fresh namespace with only a loopback interface; "private" is
   * the one that `networkNamespace` names, shared with whoever else gets it.
   */
  readonly network: NetworkMode;
  /** With "private": a path that opens the namespace, good while its maker (network.ts) has not closed it. */
  readonly networkNamespace?: string;
  readonly mounts: readonly SandboxMount[];
  readonly devices: readonly SandboxDevice[];
  readonly security: SandboxSecurity;
  readonly limits: SandboxLimits;
  /** Bytes for the process's stdin, "inherit" for cooper's own, "null" for /dev/null. */
  readonly stdin: "null" | "inherit" | Uint8Array;
  /** "pipe": real pipes, streamed to `onOutput`; "inherit": cooper's own stdout and stderr; "tty": a new pseudo-terminal joined to cooper's terminal. */
  readonly stdio: "pipe" | "inherit" | "tty";
}

/** `outOfMemory`: something of it was ended because the memory limit was reached. */
export type ExitStatus = (
  { readonly kind: "exited"; readonly code: number } | { readonly kind: "killed"; readonly signal: string }
) & { readonly outOfMemory?: boolean };

export interface RunOptions {
  readonly signal: AbortSignal;
  /** Called before the process starts, and again for the next one. */
  readonly onNotice?: (notice: SandboxNotice) => void;
  /** Called in order as output comes; the chunk is the callee's. Backpressure: output is paused while a returned promise is pending. */
  readonly onOutput?: (stream: "stdout" | "stderr", chunk: Uint8Array) => void | Promise<void>;
}

/** Something that a process does without here. */
export interface SandboxNotice {
  readonly code: string;
  readonly message: string;
}

export interface Sandbox extends AsyncDisposable {
  readonly driver: DriverName;
  /**
   * Runs one process to its end. When it returns or throws, no process of it is left and no mount. A non-zero status is
   * a result, not an error. Throws `aborted` (the process tree is dead by then), `sandbox` (the kernel refused something: which call, errno).
   */
  run(plan: SandboxPlan, options: RunOptions): Promise<ExitStatus>;
  /** Starts the helper of the next `run` ahead of time; at most a few wait, each costs about 60 MB until this is disposed. */
  prewarm(network: NetworkMode): void;
}
