import type { InputFile, KeyComponent } from "../../cache/index.js";
import type { SandboxMount } from "../../runtime/index.js";
import type { TakenCache } from "../../store/index.js";
import type { BuildEngine } from "../engine.js";

/** What a mount gives a process, for as long as it is not disposed. */
export interface OpenMount extends AsyncDisposable {
  readonly mounts: readonly SandboxMount[];
  /** Variables of that process only. */
  readonly env: Readonly<Record<string, string>>;
}

/** What opening the mounts of one RUN needs. */
export interface MountWork {
  readonly engine: BuildEngine;
  /** Caches that the RUN holds already, by the names that they have in the store: it must not wait for itself. */
  readonly caches: Map<string, Promise<TakenCache>>;
}

/** A `--mount` of which all is known that the step's key needs; nothing is mounted or made yet. */
export interface PreparedMount {
  /** What changes the step beside what is in `files`; never a secret's value, nor what a cache holds. */
  readonly components: readonly KeyComponent[];
  /** What a bind shows. */
  readonly files?: readonly InputFile[];
  /** The name of the cache that it takes: those of one RUN are taken in the order of their names, or two RUNs could wait for each other. */
  readonly cache?: string;
  readonly open: (work: MountWork) => Promise<OpenMount>;
}

/** An open mount with nothing behind it that must be closed. */
export function plainMount(
  mounts: readonly SandboxMount[],
  env: Readonly<Record<string, string>> = {},
): OpenMount {
  return { mounts, env, [Symbol.asyncDispose]: () => Promise.resolve() };
}
