import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LayerCache } from "../cache/index.js";
import { openLayerCache } from "../cache/index.js";
import type { Fetcher } from "../fetch/index.js";
import { CooperError } from "../errors.js";
import type { StagedDirectory } from "../fs/index.js";
import type { Registry } from "../registry/index.js";
import type {
  DriverChoice,
  DriverRequest,
  Rights,
  Sandbox,
  SandboxOptions,
  Verdicts,
} from "../runtime/index.js";
import type { Snapshotter, SnapshotterOptions } from "../snapshot/index.js";
import type { Store } from "../store/index.js";
import { openStore } from "../store/index.js";

/** The real workshops of one store root, each opened when first asked and closed together. */
export interface Workshop extends AsyncDisposable {
  readonly root: string;
  /** True when this process does what needs rights itself: root, here or in its own user namespace. */
  readonly privileged: boolean;
  /** Makes it true for root that may not mount: there is nobody else who could do it. */
  grant(): void;
  /** Throws `storeRefusal`. */
  readonly store: Store;
  /** Why the store could not be opened: then this serves to say what else is wrong here, and for nothing else. */
  readonly storeRefusal: CooperError | undefined;
  /** Loaded when first asked: a cached build never does. */
  readonly snapshotter: (rootfs?: SnapshotterOptions["rootfs"]) => Promise<Snapshotter>;
  readonly cache: LayerCache;
  /** Which driver a request gets here; tried when it is not known yet. Throws `sandbox` when none works. */
  readonly driver: (request: DriverRequest) => Promise<DriverChoice>;
  /** For whoever tries drivers; without a directory for them it makes the scratch directory. */
  readonly sandboxOptions: (scratchDir?: string) => SandboxOptions;
  /** One for each driver and runtime. */
  readonly sandbox: (choice: DriverChoice) => Promise<Sandbox>;
  /** What was found out about this machine before. */
  readonly verdicts: () => Promise<Verdicts>;
  /** What decides about drivers here; an engine has its caller's. */
  readonly rights: () => Promise<Rights>;
  readonly registry: () => Promise<Registry>;
  readonly fetcher: () => Promise<Fetcher>;
  /** A private directory for files that live as long as this. */
  readonly scratchDir: () => string;
}

/** The default store root. Source: XDG base directory specification. */
export function defaultRoot(environment: NodeJS.ProcessEnv): string {
  const set = environment["COOPER_ROOT"];
  if (set !== undefined && set !== "") return set;
  if (process.getuid?.() === 0 && !inUserNamespace()) return "/var/lib/cooper";
  const dataHome = environment["XDG_DATA_HOME"];
  return join(
    dataHome !== undefined && dataHome !== "" ? dataHome : join(homeForImages(), ".local/share"),
    "cooper",
  );
}

function homeForImages(): string {
  const home = homeDirectory();
  if (home !== undefined) return home;
  throw new CooperError("usage", "this user has no home directory to keep images in", {
    hint: "set COOPER_ROOT or HOME, or give --root",
  });
}

/** Undefined where HOME is not set and /etc/passwd does not know the user, as in many CI jobs. */
function homeDirectory(): string | undefined {
  try {
    return homedir();
  } catch {
    return undefined;
  }
}

/** Whether uid 0 here is only a mapped one: overlayfs then keeps its marks in user.* attributes. */
export function inUserNamespace(): boolean {
  return !/^\s*0\s+0\s+4294967295\s*$/.test(uidMap());
}

/** Whether this is root with the right to mount, here or in its own user namespace; a filter may refuse it all the same. */
function mayMount(): boolean {
  if (process.geteuid?.() !== 0) return false;
  try {
    const set = /^CapEff:\s*([\da-f]+)/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0";
    return ((BigInt(`0x${set}`) >> CAP_SYS_ADMIN) & 1n) === 1n;
  } catch {
    // Where there is no /proc the kernel's own refusal says it better.
    return true;
  }
}

const CAP_SYS_ADMIN = 21n;

/** Whether files can have one owner only: the user namespace that we are in has no other id. */
export function hasSingleId(): boolean {
  return /^\s*\d+\s+\d+\s+1\s*$/.test(uidMap());
}

/** The user's id as everybody outside knows it: an engine is 0 in its own user namespace, but finds the same logins as its caller. */
function userId(): number {
  const id = process.getuid?.() ?? 0;
  for (const line of uidMap().split("\n")) {
    const [inside, outside, count] = line.trim().split(/\s+/).map(Number);
    if (inside === undefined || outside === undefined || count === undefined) continue;
    if (id >= inside && id < inside + count) return outside + id - inside;
  }
  return id;
}

function uidMap(): string {
  try {
    return readFileSync("/proc/self/uid_map", "utf8");
  } catch {
    return "0 0 4294967295";
  }
}

/** A file of ours beside the bundle, also when this code runs from its sources. */
export function distFile(name: string): string {
  const here = fileURLToPath(import.meta.url);
  const dist = here.endsWith(".ts")
    ? new URL("../../dist/", import.meta.url)
    : new URL(here.includes("/dist/esm/") ? "../" : "./", import.meta.url);
  return fileURLToPath(new URL(name, dist));
}

declare const COOPER_VERSION: string | undefined;

/** Changes with every cooper that is installed, and with every build of it. */
function versionMark(): string {
  const version = typeof COOPER_VERSION === "string" ? COOPER_VERSION : "0.0.0-source";
  return `${version} ${statSync(distFile("sandbox-child.cjs"), { throwIfNoEntry: false })?.mtimeMs ?? 0}`;
}

interface OpenedStore {
  /** Throws `refusal`. */
  get(): Store;
  readonly refusal: CooperError | undefined;
}

function openedStore(root: string, userNamespace: boolean): OpenedStore {
  try {
    const store = openStore(root, { userNamespace });
    return { get: () => store, refusal: undefined };
  } catch (refusal) {
    if (!(refusal instanceof CooperError)) throw refusal;
    return {
      get: () => {
        throw refusal;
      },
      refusal,
    };
  }
}

/**
 * Opens what belongs to a store root; costs about a millisecond until something more is asked for. `callersRights`: for
 * an engine, whose own namespaces are new each time.
 */
export function openWorkshop(root: string, callersRights?: Rights): Workshop {
  let privileged = mayMount();
  // Root that may not mount sees no trusted.* attributes, and may get a namespace of its own.
  const userNamespace = inUserNamespace() || !privileged;
  const opening = openedStore(root, userNamespace);
  let cache: LayerCache | undefined;
  const snapshotters = new Map<string, Promise<Snapshotter>>();
  const sandboxes = new Map<string, Promise<Sandbox>>();
  let rights: Promise<Rights> | undefined;
  let verdicts: Promise<Verdicts> | undefined;
  let registry: Promise<Registry> | undefined;
  let fetcher: Promise<Fetcher> | undefined;
  let scratch: StagedDirectory | undefined;
  const scratchDir = (): string => (scratch ??= opening.get().layers.stage()).path;
  const loadSnapshotter = async (rootfs: SnapshotterOptions["rootfs"]): Promise<Snapshotter> => {
    const [snapshot, runtime] = await Promise.all([
      import("../snapshot/index.js"),
      import("../runtime/index.js"),
    ]);
    return snapshot.openSnapshotter({
      home: opening.get().layers,
      syscalls: runtime.treeSyscalls,
      userNamespace,
      rootfs,
    });
  };
  const sandboxOptions = (scratch = scratchDir()): SandboxOptions => ({
    childPath: distFile("sandbox-child.cjs"),
    scratchDir: scratch,
    userNamespace,
  });
  const loadRights = async (): Promise<Rights> => {
    if (callersRights) return callersRights;
    const runtime = await import("../runtime/index.js");
    return runtime.readRights(process.env["PATH"] ?? "");
  };
  const loadVerdicts = async (): Promise<Verdicts> => {
    const runtime = await import("../runtime/index.js");
    const dir = opening.refusal === undefined ? join(root, "cache/probe") : undefined;
    return runtime.openVerdicts(dir, await workshop.rights(), versionMark());
  };
  const selectDriver = async (request: DriverRequest): Promise<DriverChoice> => {
    const runtime = await import("../runtime/index.js");
    return runtime.selectDriver(request, sandboxOptions(), await workshop.verdicts());
  };
  const sandboxOf = (choice: DriverChoice): Promise<Sandbox> => {
    const key = `${choice.driver} ${choice.runtime ?? ""}`;
    const found =
      sandboxes.get(key) ??
      import("../runtime/index.js").then((runtime) => runtime.openDriver(choice, sandboxOptions()));
    sandboxes.set(key, found);
    return found;
  };
  const openRegistry = async (): Promise<Registry> => {
    const room = await import("../registry/index.js");
    return room.openRegistry({ env: process.env, home: homeDirectory() ?? "/", uid: userId() });
  };
  const loadFetcher = async (): Promise<Fetcher> => {
    const room = await import("../fetch/index.js");
    return room.openFetcher({ cacheDir: join(root, "cache/http"), scratchDir, env: process.env });
  };
  let closed: Promise<void> | undefined;
  // In this order: a sandbox may still use the scratch directory, and all of them the store.
  const close = async (): Promise<void> => {
    await using _store = opening.refusal === undefined ? opening.get() : undefined;
    await using _scratch = scratch;
    const opened = await Promise.allSettled([
      ...sandboxes.values(),
      registry,
      fetcher,
      ...snapshotters.values(),
    ]);
    for (const one of opened) if (one.status === "fulfilled") await one.value?.[Symbol.asyncDispose]();
  };
  const workshop: Workshop = {
    root,
    get privileged() {
      return privileged;
    },
    grant: () => {
      privileged = true;
    },
    get store() {
      return opening.get();
    },
    storeRefusal: opening.refusal,
    snapshotter: (rootfs = "overlay") => {
      const found = snapshotters.get(rootfs) ?? loadSnapshotter(rootfs);
      snapshotters.set(rootfs, found);
      return found;
    },
    get cache() {
      return (cache ??= openLayerCache(join(root, "cache")));
    },
    driver: selectDriver,
    sandboxOptions,
    sandbox: sandboxOf,
    verdicts: () => (verdicts ??= loadVerdicts()),
    rights: () => (rights ??= loadRights()),
    registry: () => (registry ??= openRegistry()),
    fetcher: () => (fetcher ??= loadFetcher()),
    scratchDir,
    [Symbol.asyncDispose]: () => (closed ??= close()),
  };
  return workshop;
}
