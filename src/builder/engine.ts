import type { BuildContext } from "../context/index.js";
import type { LayerCache } from "../cache/index.js";
import type { EventListener } from "../events.js";
import type { Fetcher } from "../fetch/index.js";
import type { Platform } from "../image/index.js";
import type {
  DriverChoice,
  Need,
  NetworkMode,
  Sandbox,
  SandboxMount,
  SandboxNotice,
} from "../runtime/index.js";
import type { Snapshotter } from "../snapshot/index.js";
import type { Store, StoredImage } from "../store/index.js";
import type { RunSettings, StepNetwork } from "./run-settings.js";
import type { ImageTimes } from "./times.js";

/** How long a RUN may take, and what becomes of one that fails. */
export interface OnFailure {
  /** 0: for ever. */
  readonly runTimeoutMs: number;
  readonly next: "stop" | "shell" | "keep";
}

/** Mounts of `-v`, for one RUN. */
export interface OpenVolumes extends AsyncDisposable {
  readonly mounts: readonly SandboxMount[];
}

/** What is known before the first step of how its processes will be run. */
export interface DriverOutlook {
  /** What options ask of every process, where not each driver has it. */
  readonly needs: readonly Need[];
  /** Whether the user insists on a driver: then it must work, though all may be cached. */
  readonly insists: boolean;
  /** Tried when it is not known yet. Throws `sandbox` when none works. */
  readonly driver: () => Promise<DriverChoice>;
  /** Throws `sandbox` and `unsupported` for a limit or user namespace that was asked for and cannot be had. */
  readonly checkSettings: () => Promise<void>;
}

/** The workshops a build uses and what else it may touch, made by whoever wires the engine. */
export interface BuildEngine {
  readonly store: Store;
  /** Loaded when first asked: a cached build never does. */
  readonly snapshotter: () => Promise<Snapshotter>;
  readonly cache: LayerCache;
  /** Opened when first asked. */
  readonly context: () => BuildContext;
  /** A directory that `--build-context` names, by the name that `contextName` makes; opened when first asked. */
  readonly namedContext: (name: string) => Promise<BuildContext>;
  readonly sandbox: () => Promise<Sandbox>;
  /** Missing in a process that cannot try a driver: whoever does its work will look. */
  readonly outlook: DriverOutlook | undefined;
  /** For ADD of what lies elsewhere. */
  readonly fetcher: () => Promise<Fetcher>;
  /** Pulls (or finds) the image that a FROM or `--from` names, made for a platform. */
  readonly baseImage: (name: string, platform: Platform) => Promise<StoredImage>;
  /** Whether programs made for a platform run here, by themselves or emulated. */
  readonly canRun: (platform: Platform) => Promise<boolean>;
  /**
   * Called before anything is done that a cached build does not need. Throws where this process cannot do it (an
   * unprivileged one outside its user namespace): the caller then starts over in one that can.
   */
  readonly requirePrivileges: () => void;
  /** Makes a sandbox ready for a RUN that comes soon. */
  readonly prewarm: () => void;
  /** How a process gets to the network of this kind; where there can be no private one, to the machine's, with a warning. */
  readonly network: (mode: NetworkMode) => Promise<StepNetwork>;
  readonly scratchDir: () => string;
  readonly runSettings: RunSettings;
  readonly onFailure: OnFailure;
  /**
   * For a step that has failed and goes on nevertheless: stops all other stages and waits for what they run. Resolves to
   * the signal that still counts; undefined when another step failed first.
   */
  readonly failing: (error: unknown) => Promise<AbortSignal | undefined>;
  /** `-v`: mounted in every RUN; no part of a key or layer. */
  readonly volumes: () => Promise<OpenVolumes>;
  /** A secret that the build was given, by its id. Throws `io`, `usage` (too large). */
  readonly secret: (id: string) => Uint8Array | undefined;
  /** The socket of an ssh-agent that the build was given, by its id. Throws `io`, `not-found`, `usage`. */
  readonly agent: (id: string) => Promise<string | undefined>;
  /** Whether there is such a secret or agent; nothing is read or started. */
  readonly isGiven: (type: "secret" | "ssh", id: string) => boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly now: () => number;
  readonly times: ImageTimes;
  readonly emit: EventListener;
  /** Tells what a process does without here, once in a build. */
  readonly notice: (notice: SandboxNotice) => void;
  readonly signal: AbortSignal;
  /** Runs a step's work when fewer than `--jobs` others do. */
  readonly limit: <T>(work: () => Promise<T>) => Promise<T>;
}
