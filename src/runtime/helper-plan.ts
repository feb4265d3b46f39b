import type { HelperIdMapping } from "./id-mapping.js";
import type { OciRuntime } from "./oci-runtime.js";
import type {
  NetworkMode,
  RestoredFile,
  SandboxMount,
  SandboxSecurity,
  SecretMount,
  Ulimit,
} from "./types.js";

/** As the plan has it; bytes are base64. */
export type HelperMount =
  Exclude<SandboxMount, SecretMount> | (Omit<SecretMount, "content"> & { readonly base64: string });

/** A device node of the host, and what it was when it was looked at. */
export interface HelperDevice {
  readonly source: string;
  readonly target: string;
  readonly kind: "character" | "block";
  /** Its number as stat(2) has it. */
  readonly number: number;
}

/**
 * What the driver and its helper say to each other over descriptor 3. To the helper: frames of a little-endian 32-bit
 * length and that many bytes of JSON; a plan's frame is followed by `stdinBytes` raw bytes. From the helper: lines of JSON.
 */
export interface HelperPlan {
  readonly type: "plan";
  /** Topmost first, the stub directories included. */
  readonly lowerDirs: readonly string[];
  readonly upperDir: string;
  readonly workDir: string;
  /** An empty directory of ours, covered in the sandbox's own mount namespace only. */
  readonly mountPoint: string;
  readonly argv: readonly string[];
  /** `NAME=value`, exactly what the process gets. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly hostname: string;
  readonly network: NetworkMode;
  /** "" unless `network` is "private". */
  readonly networkNamespace: string;
  readonly mounts: readonly HelperMount[];
  readonly devices: readonly HelperDevice[];
  readonly stdin: "null" | "inherit" | "bytes";
  readonly stdinBytes: number;
  readonly stdio: "pipe" | "inherit" | "tty";
  readonly terminal: { readonly rows: number; readonly columns: number };
  readonly security: Omit<SandboxSecurity, "seccomp" | "userNamespace">;
  /** The system call filter: that for the capabilities, none, or these instructions in base64. */
  readonly filter:
    | { readonly kind: "default" | "none" }
    | { readonly kind: "given"; readonly program: string; readonly flags: number };
  readonly ulimits: readonly (Ulimit & { readonly resource: number })[];
  /** Files of cgroups that the process writes "0" to. */
  readonly cgroups: readonly string[];
  /** Bytes of /dev/shm. */
  readonly shmBytes: number;
  /** True inside a user namespace, where uid 0 is a mapped one. */
  readonly userNamespace: boolean;
  /** A user namespace of the process's own; null: that of the helper. */
  readonly idMapping: HelperIdMapping | null;
  /** What starts the process, and the filter as JSON for it ("": none); null: the helper itself. */
  readonly runtime: (OciRuntime & { readonly seccomp: string }) | null;
}

/** For the helper of the driver that may not mount (chroot-child.ts). */
export interface ChrootPlan extends Pick<
  HelperPlan,
  | "argv"
  | "env"
  | "cwd"
  | "uid"
  | "gid"
  | "groups"
  | "mounts"
  | "stdin"
  | "stdinBytes"
  | "stdio"
  | "security"
  | "ulimits"
  | "userNamespace"
> {
  readonly type: "chroot";
  /** The root file system. */
  readonly dir: string;
}

/**
 * `go`: the driver has taken the terminal. `kill`: end the running process and all it started. `rescue`: for the driver that
 * may not mount: end what runs in this root file system, and put back caches that were lent to it; a helper was killed there.
 */
export type HelperRequest =
  | HelperPlan
  | ChrootPlan
  | { readonly type: "rescue"; readonly dir: string }
  | { readonly type: "go" }
  | { readonly type: "kill" };

/** Why a process was not started. */
export interface Refusal {
  /** What was being done, as the middle of a sentence: "mount the root file system". */
  readonly doing: string;
  /** The system call and the errno's name, when the kernel refused one. */
  readonly call?: string;
  readonly errno?: string;
  readonly path?: string;
  readonly message: string;
}

export type HelperMessage =
  /** Idle. `pid` is the helper's own, as the driver sees it; `stdout` and `stderr` are pipe ends in it to open for reading. */
  | { readonly type: "ready"; readonly pid: number; readonly stdout: number; readonly stderr: number }
  | { readonly type: "terminal"; readonly fd: number }
  /** `status` as wait(2) encodes it. Nothing of the process tree is left. */
  | {
      readonly type: "exit";
      readonly status: number;
      /** Only of the driver that may not mount: see SandboxRootfs. */ readonly restored?: readonly RestoredFile[];
    }
  | { readonly type: "refused"; readonly refusal: Refusal };

/** Where cooper's own stdin, stdout and stderr are in the helper. */
export const INHERITED = { stdin: 4, stdout: 5, stderr: 6 } as const;
export const CONTROL = 3;
