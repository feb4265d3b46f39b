/** One mount inside a sandbox, in order. Targets are absolute paths inside the root file system, resolved there without leaving it. */
export type SandboxMount =
  | { readonly type: "bind"; readonly source: string; readonly target: string; readonly readOnly: boolean }
  | { readonly type: "tmpfs"; readonly target: string; readonly sizeBytes?: number; readonly mode?: number };

/** The root file system: an overlay over `lowerDirs` (topmost first), mounted inside the sandbox's own mount namespace. */
export interface SandboxRootfs {
  readonly lowerDirs: readonly string[];
  readonly upperDir: string;
  readonly workDir: string;
}

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
  /** "host" shares the network of cooper itself; "none" is a namespace with only a loopback interface. */
  readonly network: "host" | "none";
  readonly mounts: readonly SandboxMount[];
  /** Bytes for the process's stdin, "inherit" for cooper's own, "null" for /dev/null. */
  readonly stdin: "null" | "inherit" | Uint8Array;
  /** "pipe": real pipes, streamed to `onOutput`; "inherit": cooper's own stdout and stderr; "tty": a new pseudo-terminal joined to cooper's terminal. */
  readonly stdio: "pipe" | "inherit" | "tty";
  /** Defaults to the default set; names as `CAP_CHOWN`. */
  readonly capabilities?: readonly string[];
}

export type ExitStatus =
  { readonly kind: "exited"; readonly code: number } | { readonly kind: "killed"; readonly signal: string };

export interface RunOptions {
  readonly signal: AbortSignal;
  /** Called in order as output comes; the chunk is the callee's. Backpressure: output is paused while a returned promise is pending. */
  readonly onOutput?: (stream: "stdout" | "stderr", chunk: Uint8Array) => void | Promise<void>;
}

export interface Sandbox extends AsyncDisposable {
  /**
   * Runs one process to its end. When it returns or throws, no process of it is left and no mount. A non-zero status is
   * a result, not an error. Throws `aborted` (the process tree is dead by then), `sandbox` (the kernel refused something: which call, errno).
   */
  run(plan: SandboxPlan, options: RunOptions): Promise<ExitStatus>;
  /** Starts the helper of the next `run` ahead of time; at most a few wait, each costs about 60 MB until this is disposed. */
  prewarm(network: "host" | "none"): void;
}
