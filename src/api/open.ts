import { resolve } from "node:path";
import type { BuildOptions, BuildResult, Cooper, IsolationOptions, OpenOptions } from "../cooper.js";
import type { CooperEvent } from "../events.js";
import { withTexts } from "./given-texts.js";
import { localCooper } from "./local.js";
import { NeedsPrivileges } from "./privileges.js";
import type { RemoteCall } from "./remote.js";
import { withSecrets } from "./secrets.js";
import { withAgents } from "./ssh-agents.js";
import type { Workshop } from "./workshop.js";
import { defaultRoot, openWorkshop } from "./workshop.js";

/**
 * Opens a store for building. Nothing is done yet: no directory is made, no process started. An unprivileged process
 * does what it can itself (a fully cached build, lists, names, pulls) and hands the rest to a child engine that
 * runs as root of its own user namespace. The caller closes it (`await using`).
 */
export function openCooper(options: OpenOptions = {}): Promise<Cooper> {
  const root = resolve(options.root ?? defaultRoot(process.env));
  const workshop = openWorkshop(root);
  const local = localCooper(workshop);
  if (workshop.privileged) return Promise.resolve(local);
  const remote = rootless(local, workshop);
  const isRefused = workshop.storeRefusal !== undefined;
  return Promise.resolve(isRefused ? { ...local, doctor: (wanted) => remote.doctor(wanted) } : remote);
}

type Remote = "build" | "push" | "remove" | "save" | "run";

/**
 * Has a call done where the rights for it are: in an engine, or here, by root that is refused a namespace. Loaded when
 * first needed: a cached build starts no process.
 */
async function delegate(
  local: Cooper,
  workshop: Workshop,
  method: Remote,
  args: readonly unknown[],
): Promise<unknown> {
  const remote = await import("./remote.js");
  const isolation = args.map((arg) => (arg as IsolationOptions | undefined)?.isolation).find(Boolean);
  if (!workshop.privileged && (await remote.isLastResort(workshop, isolation))) workshop.grant();
  if (!workshop.privileged) return remote.callEngine(workshop, { method, ...detach(args) });
  return (local[method] as (...args: readonly unknown[]) => Promise<unknown>)(...args);
}

function rootless(local: Cooper, workshop: Workshop): Cooper {
  const remote = (method: Remote, ...args: readonly unknown[]): Promise<unknown> =>
    delegate(local, workshop, method, args);
  return {
    ...local,
    build: async (options) => {
      if (workshop.privileged) return local.build(options);
      return options.context === undefined
        ? rootlessBuild(local, workshop, options)
        : fetchingBuild(local, workshop, options);
    },
    push: (nameOrId, destination, options) =>
      remote("push", nameOrId, destination, options ?? {}) as ReturnType<Cooper["push"]>,
    remove: (namesOrIds, options) =>
      remote("remove", namesOrIds, options ?? {}) as ReturnType<Cooper["remove"]>,
    save: (namesOrIds, options) => remote("save", namesOrIds, options) as Promise<void>,
    doctor: async (options = {}) => {
      const { diagnoseByEngine } = await import("./doctor.js");
      return workshop.privileged ? local.doctor(options) : diagnoseByEngine(local, workshop, options);
    },
    run: (nameOrId, options) => remote("run", nameOrId, options ?? {}) as Promise<number>,
  };
}

/** Events that a second try does not repeat: they are passed on at once. */
const LASTING: readonly CooperEvent["type"][] = ["pull-start", "transfer", "notice"];

/** Tries without privileges first, saying nothing of its steps until it is known that all of them were cached. */
async function rootlessBuild(local: Cooper, workshop: Workshop, given: BuildOptions): Promise<BuildResult> {
  const options = await withTexts(workshop, given);
  const held: CooperEvent[] = [];
  const { onEvent } = options;
  const hold = (event: CooperEvent): void => {
    if (LASTING.includes(event.type)) onEvent?.(event);
    else held.push(event);
  };
  try {
    const result = await local.build({ ...options, onEvent: hold });
    for (const event of held) onEvent?.(event);
    return result;
  } catch (error) {
    if (!(error instanceof NeedsPrivileges)) {
      for (const event of held) onEvent?.(event);
      throw error;
    }
  }
  const warned = new Set<string>();
  for (const event of held) {
    if (event.type !== "warning") continue;
    warned.add(JSON.stringify(event));
    onEvent?.(event);
  }
  // Bases are stored by now: the engine need not ask the registry again.
  const again = {
    ...options,
    onEvent: (event: CooperEvent) => {
      if (event.type !== "warning" || !warned.has(JSON.stringify(event))) onEvent?.(event);
    },
    ...(options.pull === "always" || options.pull === "newer" ? { pull: "missing" as const } : {}),
  };
  return (await delegate(local, workshop, "build", [withEnvironment(again)])) as BuildResult;
}

/** A context that must be fetched is fetched once, by the engine; it shares our stdin, but no stream of the caller's. */
async function fetchingBuild(local: Cooper, workshop: Workshop, given: BuildOptions): Promise<BuildResult> {
  const options = await withTexts(workshop, given);
  const { context, signal } = options;
  const call = (own: Partial<BuildOptions>): Promise<unknown> =>
    delegate(local, workshop, "build", [withEnvironment({ ...options, ...own })]);
  if (context === undefined || typeof context === "string") return (await call({})) as BuildResult;
  const { spoolContext } = await import("./context-source.js");
  await using file = await spoolContext(workshop, context, signal);
  return (await call({ context: file.path })) as BuildResult;
}

/** What is taken from the environment or from files of the caller, taken now: build args, secrets, and which ssh-agent. */
function withEnvironment(given: BuildOptions): BuildOptions {
  const options = withAgents(withSecrets(given));
  if (!options.buildArgs) return options;
  const known = Object.entries(options.buildArgs).map(
    ([name, value]) => [name, value ?? process.env[name]] as const,
  );
  return { ...options, buildArgs: Object.fromEntries(known.filter(([, value]) => value !== undefined)) };
}

/** Splits what can be cloned to another process from the signal and the callbacks, which stay here. */
function detach(args: readonly unknown[]): Pick<RemoteCall, "args" | "signal" | "onEvent" | "onOutput"> {
  let kept: Record<string, unknown> = {};
  const sent = args.map((arg) => {
    if (typeof arg !== "object" || arg === null || Array.isArray(arg)) return arg;
    const { signal, onEvent, onOutput, ...rest } = arg as Record<string, unknown>;
    kept = {
      ...kept,
      ...(signal ? { signal } : {}),
      ...(onEvent ? { onEvent } : {}),
      ...(onOutput ? { onOutput } : {}),
    };
    return onOutput ? { ...rest, piped: true } : rest;
  });
  return { args: sent, ...kept };
}
