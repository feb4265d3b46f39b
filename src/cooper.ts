import type { Readable } from "node:stream";
import type { EventListener } from "./events.js";
import type { Descriptor, Digest, ImageConfig, ImageFormat } from "./image/index.js";
import type { Diagnostic, SourceText } from "./source.js";

/** How to reach registries; missing parts come from registries.conf, certs.d and the auth files. */
export interface TransferOptions {
  readonly tlsVerify?: boolean;
  /** `user:password`. */
  readonly creds?: string;
  readonly authFile?: string;
  readonly certDir?: string;
  readonly retries?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: EventListener;
}

export interface PushOptions extends TransferOptions {
  /** Media types of the manifest; default: the image's own. */
  readonly format?: ImageFormat;
}

/** Where a build also writes its result. `dest` "-" is stdout for the archive types. */
export interface BuildOutput {
  readonly type: "oci" | "docker" | "local";
  readonly dest: string;
}

export type PullPolicy = "missing" | "always" | "never" | "newer";

/** What the processes of a build or container may do, and what they get. Each is refused where it cannot be had. */
export interface IsolationOptions {
  /**
   * How processes are kept apart from the machine: by cooper itself, by an OCI runtime, or by no more than a root
   * directory. Default "auto": the first of these that works here; a `notice` says so when it is not the first.
   */
  readonly isolation?: "auto" | "native" | "oci" | "chroot";
  /** Name or path of an OCI runtime; `isolation` is "oci" then. */
  readonly runtime?: string;
  /**
   * "private" (default): a network namespace of one build or container, in which nothing of this machine's loopback is
   * reached; where there can be none, this machine's network and a warning. "host": this machine's. "none": only a loopback.
   */
  readonly network?: "private" | "host" | "none";
  /** Lines for /etc/hosts, each `NAME[;NAME]:ADDRESS`; the address `host-gateway` is this machine. */
  readonly addHosts?: readonly string[];
  /** Addresses of name servers instead of this machine's; "none": the image's own /etc/resolv.conf stays. */
  readonly dns?: readonly string[];
  /** Domains to search instead of this machine's; ".": none. */
  readonly dnsSearch?: readonly string[];
  /** Options of resolv.conf(5) instead of this machine's. */
  readonly dnsOptions?: readonly string[];
  /** True: the image's own /etc/hosts stays. */
  readonly noHosts?: boolean;
  /** True: the image's own /etc/hostname stays. */
  readonly noHostname?: boolean;
  /** Default: always the same in a build, a new one for every container. */
  readonly hostname?: string;
  /** Capabilities beside the default ones, in any case, with or without `CAP_`; "ALL": every one that cooper has. */
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  /**
   * Which system calls are filtered: "unconfined" for none, or a profile in docker's JSON (its text, and what messages call
   * it). Default: what docker's own profile closes.
   */
  readonly seccomp?: "unconfined" | { readonly profile: string; readonly path: string };
  /** True: programs that are setuid or have capabilities give nobody more rights. */
  readonly noNewPrivileges?: boolean;
  /** Limits of setrlimit(2); "host": all of cooper's own. */
  readonly ulimits?: readonly (ProcessLimit | "host")[];
  /** Bytes of memory for the processes of one step; 0: no limit, as by default. */
  readonly memoryBytes?: number;
  /** Bytes of memory and swap together; -1: no limit. Default: twice the memory. */
  readonly memorySwapBytes?: number;
  /** Processors, such as 1.5; 0: no limit, as by default. */
  readonly cpus?: number;
  /** Processes and threads of one step; 0 or -1: no limit. Default 4096. */
  readonly pidsLimit?: number;
  /**
   * Devices of this machine that processes find: `HOST[:CONTAINER][:PERMISSIONS]`, where HOST may be a directory of them and
   * the permissions are some of r, w and m (default: all). Less than all needs cgroup v1 and root.
   */
  readonly devices?: readonly string[];
  /**
   * "host" (default): processes have the ids that cooper has. Otherwise cooper's processes get a user namespace with so many
   * ids (auto: 65536), of those that /etc/subuid and /etc/subgid give the user "containers": its root is nobody on this
   * machine, and images are the same. Only for root, with isolation "native".
   */
  readonly userns?: "host" | "auto" | { readonly size: number };
  /** Bytes of /dev/shm; 0: no limit. Default 64 MiB. */
  readonly shmBytes?: number;
}

/** A limit by its name in `ulimit`'s long form, such as `nofile`; -1: no limit. Never above cooper's own hard limit. */
export interface ProcessLimit {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

/** A secret: what a file holds, or a variable of the environment, or the bytes themselves. At most 500 KiB. */
export type Secret = { readonly file: string } | { readonly env: string } | Uint8Array;

export interface BuildOptions extends TransferOptions, IsolationOptions {
  /** The build context: a directory. Default: the current one. */
  readonly contextDir?: string;
  /**
   * A build context that is no directory, instead of `contextDir`: the URL of a git repository (`#ref:subdir`), or an archive
   * or a Containerfile by its URL, its path, as a stream, or "-" for stdin. No ignore file holds there.
   */
  readonly context?: string | Readable;
  /**
   * Path of the Containerfile (relative to the current directory, then to the context; in a `context` always to that), its
   * http or https URL, or "-" for stdin; several are joined in order. Default: Containerfile, else Dockerfile, else dockerfile, of the context.
   */
  readonly file?: string | readonly string[];
  /** The Containerfile's text instead of a file; with "-" among the files, instead of stdin. */
  readonly containerfile?: string;
  /**
   * Path of the ignore file, relative to the current directory. Default: the Containerfile's own (its path with
   * `.containerignore` or `.dockerignore` behind it), else `.containerignore`, else `.dockerignore` of the context.
   */
  readonly ignoreFile?: string;
  /** What `RUN --mount=type=secret` finds by its id. It gets into no layer, history or cache. */
  readonly secrets?: Readonly<Record<string, Secret>>;
  /** The ssh-agent that `RUN --mount=type=ssh` finds by its id: a socket's path, those of private keys, or [] for $SSH_AUTH_SOCK. */
  readonly ssh?: Readonly<Record<string, readonly string[]>>;
  /** Mounted in every RUN, and no part of its cache key: `source:target[:option,…]`, options as `RunImageOptions.volumes` has them. */
  readonly volumes?: readonly string[];
  readonly target?: string;
  readonly tags?: readonly string[];
  /** `undefined` as a value: taken from the environment. */
  readonly buildArgs?: Readonly<Record<string, string | undefined>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** What RUN may ask for with `--network=host` and `--security=insecure`; it may not otherwise. */
  readonly allow?: readonly ("network.host" | "security.insecure")[];
  /** What the image is for, as `os/architecture[/variant]`. Default: this machine's platform. */
  readonly platform?: string;
  /**
   * What a name in FROM and `--from` stands for: a directory, a git repository or the URL of an archive (as for `context`),
   * `docker-image://NAME`, `oci-layout://DIR[:TAG|@DIGEST]`.
   */
  readonly buildContexts?: Readonly<Record<string, string>>;
  /** Seconds since 1970 that `created`, the history and `ARG SOURCE_DATE_EPOCH` show instead of the time of the build. */
  readonly sourceDateEpoch?: number;
  /** Modification times in new layers: those later than `sourceDateEpoch` become it, or all do. Default: they stay. */
  readonly rewriteTimestamps?: "later" | "all";
  /** False: no step is looked up (results are still recorded). Default true. */
  readonly cache?: boolean;
  readonly pull?: PullPolicy;
  readonly outputs?: readonly BuildOutput[];
  /** Media types of manifest, config and layers when the image is pushed or saved. Default "oci". */
  readonly format?: ImageFormat;
  /** Stages at once; default: number of cores. */
  readonly jobs?: number;
  /** How long a RUN may take, ms; then it is killed with all that it started, and the build fails with exit code 124. Default and 0: for ever. */
  readonly runTimeoutMs?: number;
  /**
   * What becomes of a RUN that fails. "keep": what it left is an image, named by the event `kept`. "shell": a shell opens in it
   * on the terminal, with all that the step had; the build fails when that ends. Default "stop": it is removed.
   */
  readonly onFailure?: "stop" | "shell" | "keep";
}

export interface BuildResult {
  readonly imageId: Digest;
  readonly config: ImageConfig;
  readonly steps: { readonly cached: number; readonly built: number };
}

/** Which context, and which ignore file: the same as in a build. With `file` "-" stdin is not read. */
export type ContextOptions = Pick<
  BuildOptions,
  "contextDir" | "file" | "containerfile" | "ignoreFile" | "onEvent"
>;

export interface ContextEntry {
  /** Relative to the context; bytes that are not UTF-8 are U+FFFD. */
  readonly path: string;
  readonly type: "file" | "dir" | "symlink" | "char" | "block" | "fifo" | "socket";
  /** Permission bits, 0o0000 to 0o7777. */
  readonly mode: number;
  /** Bytes of a file; 0 for everything else. */
  readonly size: number;
  /** What a symbolic link holds. */
  readonly target?: string;
}

export interface ContextListing {
  /** Relative to the context, or absolute when it lies elsewhere; missing when there is none. */
  readonly ignoreFile?: string;
  /** Sorted bytewise by path, with a slash behind directories: each directory before what it holds. */
  readonly entries: readonly ContextEntry[];
}

/** What a build sees of a path, and the line of the ignore file that decided. */
export interface PathExplanation {
  /** Relative to the context, cleaned; "" is the context itself. */
  readonly path: string;
  /** `parent`: hidden, but there for what it holds; `socket`: left out, since an image cannot hold one. */
  readonly outcome: "visible" | "parent" | "hidden" | "missing" | "socket";
  readonly ignoreFile?: string;
  /** Missing when no line decided. `where` is `.dockerignore:3`. */
  readonly line?: { readonly where: string; readonly text: string };
  /** The directory above the path that the line matched, when it is not the path itself. */
  readonly parent?: string;
}

export interface ImageSummary {
  readonly id: Digest;
  /** Canonical names, e.g. `localhost/hello:latest`; empty for an untagged image. */
  readonly names: readonly string[];
  /** ms since 1970. */
  readonly created: number;
  /** Bytes of all its layers' tars. */
  readonly size: number;
  /** True for a step's result that no name points to. */
  readonly intermediate: boolean;
}

export interface ImageDetails extends ImageSummary {
  readonly digest?: Digest;
  readonly format: ImageFormat;
  readonly config: ImageConfig;
  readonly configSize: number;
}

export interface HistoryRow {
  /** Missing for layers whose image is not stored here. */
  readonly id?: Digest;
  readonly created?: string;
  readonly createdBy: string;
  readonly size: number;
  readonly comment: string;
}

export type SaveFormat = "oci-archive" | "oci-dir" | "docker-archive";

export interface RunImageOptions extends IsolationOptions {
  /** Replaces the image's Cmd. */
  readonly command?: readonly string[];
  /** One string is one argument; [] removes the image's entrypoint. */
  readonly entrypoint?: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** `source:target[:option,…]`: ro, rw, O (what is written is discarded), nosuid, nodev, noexec, z, Z. */
  readonly volumes?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  /** Connect cooper's stdin. */
  readonly interactive?: boolean;
  /** Allocate a pseudo-terminal. */
  readonly tty?: boolean;
  readonly signal?: AbortSignal;
  readonly onOutput?: (stream: "stdout" | "stderr", chunk: Uint8Array) => void;
}

export interface Removed {
  readonly untagged: readonly string[];
  readonly deleted: readonly Digest[];
}

export interface CheckOptions {
  /** What places call the text. Default `Containerfile`. */
  readonly name?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
}

export interface LintOptions extends Pick<BuildOptions, "file" | "containerfile" | "buildArgs" | "signal"> {
  /** Where the Containerfile is looked for; its ignore file is read, too. Default: the current directory, without ignore file. */
  readonly contextDir?: string;
  /** Write the file anew with everything mended that has a certain fix. */
  readonly fix?: boolean;
}

export interface LintResult {
  /** The file as it is now. */
  readonly source: SourceText;
  /** Errors and warnings about it, in the order of the text. */
  readonly diagnostics: readonly Diagnostic[];
  /** What `fix` mended, with the places it had. */
  readonly fixed: readonly Diagnostic[];
}

/** One thing that `doctor` looked at or tried. */
export interface DoctorCheck {
  readonly name: string;
  readonly group:
    "system" | "namespaces" | "overlay" | "cgroups" | "ids" | "network" | "runtimes" | "emulation" | "store";
  /** "unknown": it could not be tried, or does not decide anything by itself. */
  readonly ok: boolean | "unknown";
  /** What there is, or the refusal, as one line. */
  readonly found: string;
  /** What was refused, as far as it is known: the system call or program, and the errno's name. */
  readonly call?: string;
  readonly errno?: string;
  /** What to change: options of CI systems, switches of the kernel, packages. */
  readonly advice?: string;
}

/** Whether processes can be started by a driver, tried for real. */
export interface DoctorDriver extends Omit<DoctorCheck, "name" | "group" | "ok"> {
  readonly name: "native" | "oci" | "chroot";
  readonly ok: boolean;
}

export interface Diagnosis {
  readonly checks: readonly DoctorCheck[];
  /** From the most that can be had to the least. */
  readonly drivers: readonly DoctorDriver[];
  /** What isolation "auto" takes; null: nothing works here. */
  readonly chosen: DoctorDriver["name"] | null;
}

export interface Cooper extends AsyncDisposable {
  /** Directory of the store. */
  readonly root: string;
  build(options: BuildOptions): Promise<BuildResult>;
  /** Checks a Containerfile: what does not parse, what a build would refuse, and what lint finds. Pulls nothing. */
  lint(options?: LintOptions): Promise<LintResult>;
  pull(name: string, options?: TransferOptions): Promise<ImageSummary>;
  /** Uploads a stored image (name or id); `destination` defaults to the name. Returns the manifest's descriptor. */
  push(nameOrId: string, destination?: string, options?: PushOptions): Promise<Descriptor>;
  images(options?: { readonly all?: boolean }): Promise<readonly ImageSummary[]>;
  inspect(nameOrId: string): Promise<ImageDetails>;
  history(nameOrId: string): Promise<readonly HistoryRow[]>;
  tag(nameOrId: string, names: readonly string[]): Promise<void>;
  remove(
    namesOrIds: readonly string[],
    options?: { readonly force?: boolean; readonly all?: boolean },
  ): Promise<Removed>;
  /** `dest`: a path, or "-" for stdout (archives only). */
  save(
    namesOrIds: readonly string[],
    options: { readonly format: SaveFormat; readonly dest: string; readonly signal?: AbortSignal },
  ): Promise<void>;
  /** Names or ids of what was loaded from an archive or layout directory ("-": stdin). */
  load(source: string, options?: { readonly signal?: AbortSignal }): Promise<readonly string[]>;
  /** Runs a process in a fresh container of the image, removed afterwards; resolves to its exit code (128+n for signal n). */
  run(nameOrId: string, options?: RunImageOptions & TransferOptions): Promise<number>;
  /** Tries everything that isolation needs here, and remembers what came of it for the next build. Fails for nothing that it finds. */
  doctor(options?: { readonly signal?: AbortSignal }): Promise<Diagnosis>;
  login(
    host: string,
    credentials: { readonly username: string; readonly password: string },
    options?: TransferOptions,
  ): Promise<void>;
  /** `host` "all": every host. */
  logout(host: string, options?: TransferOptions): Promise<void>;
  /** The user that is logged in at a host. */
  loggedIn(host: string, options?: TransferOptions): Promise<string | undefined>;
}

export interface OpenOptions {
  /** Default: `COOPER_ROOT`, else `$XDG_DATA_HOME/cooper`, or /var/lib/cooper for root. */
  readonly root?: string;
}
