import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { NamedContext } from "../builder/index.js";
import { contextName } from "../builder/index.js";
import type { BuildContext } from "../context/index.js";
import type { BuildOptions } from "../cooper.js";
import { CooperError, errnoOf } from "../errors.js";
import { parseReference } from "../image/index.js";
import type { ContextSource } from "./context-source.js";
import type { LazyContext } from "./lazy-context.js";
import { lazyContext } from "./lazy-context.js";
import { requirePrivileges } from "./privileges.js";
import type { Workshop } from "./workshop.js";

/** `--build-context`s of a build. */
export interface NamedContexts {
  /** What the plan needs to know, by the names that `contextName` makes. */
  readonly meanings: ReadonlyMap<string, NamedContext>;
  /** A directory among them, fetched and opened when first asked. Throws also as `openContextSource`, and NeedsPrivileges. */
  readonly open: (name: string) => Promise<BuildContext>;
  /** Closes them and removes what was fetched. */
  readonly close: () => Promise<void>;
}

const IMAGE = /^(?:docker-image|container-image|docker):\/\//;

/** An image in an OCI layout directory, as `findImage` takes it. */
export const LAYOUT = "oci-layout://";

/** A context that was opened, and what to do at the end of the build. */
interface OpenedContext {
  readonly context: LazyContext;
  readonly fetched?: ContextSource;
}

/**
 * Reads `NAME=VALUE` pairs: a directory, `docker-image://NAME`, `oci-layout://DIR[:TAG|@DIGEST]`, a git repository or the
 * URL of an archive. A directory has its own ignore file, what is fetched has none. Nothing is opened yet. Throws `usage`,
 * `unsupported`, `not-found`, `invalid-name`.
 */
export function namedContexts(workshop: Workshop, options: BuildOptions): NamedContexts {
  const meanings = new Map<string, NamedContext>();
  const openers = new Map<string, () => Promise<OpenedContext>>();
  const opened = new Map<string, Promise<OpenedContext>>();
  for (const [given, value] of Object.entries(options.buildContexts ?? {})) {
    const name = checkedName(given, value);
    const image = imageOf(given, value);
    meanings.set(name, image === undefined ? { kind: "directory" } : { kind: "image", image });
    if (image === undefined) openers.set(name, openerOf(workshop, given, value, options));
  }
  return {
    meanings,
    open: async (name) => {
      const opener = openers.get(name);
      if (!opener) throw new Error(`no build context ${name}`);
      const opening = opened.get(name) ?? opener();
      opened.set(name, opening);
      return (await opening).context.get();
    },
    close: async () => {
      for (const result of await Promise.allSettled(opened.values())) {
        if (result.status === "rejected") continue;
        const { context, fetched } = result.value;
        context.close();
        await fetched?.[Symbol.asyncDispose]();
      }
    },
  };
}

function openerOf(
  workshop: Workshop,
  given: string,
  value: string,
  options: BuildOptions,
): () => Promise<OpenedContext> {
  if (isElsewhere(given, value)) return () => fetchContext(workshop, given, value, options);
  const contextDir = directoryOf(given, value);
  return () => Promise.resolve({ context: lazyContext(workshop, { contextDir }, options.onEvent) });
}

/** By the engine alone, as every context that is fetched: nobody else can write what an archive or repository holds. */
async function fetchContext(
  workshop: Workshop,
  given: string,
  value: string,
  { signal, onEvent }: BuildOptions,
): Promise<OpenedContext> {
  requirePrivileges(workshop);
  const { openContextSource } = await import("./context-source.js");
  const fetched = await openContextSource(workshop, value, {
    ...(signal ? { signal } : {}),
    ...(onEvent ? { onEvent } : {}),
  });
  if (fetched.containerfile) {
    await fetched[Symbol.asyncDispose]();
    throw new CooperError(
      "context",
      `--build-context ${given}: ${fetched.containerfile.name} is no archive`,
      { hint: "for a single file write ADD URL in the Containerfile" },
    );
  }
  const places = { contextDir: fetched.dir };
  return { context: lazyContext(workshop, places, onEvent, { useIgnoreFile: false }), fetched };
}

function checkedName(given: string, value: string): string {
  const name = contextName(given);
  try {
    parseReference(name);
  } catch {
    throw new CooperError("usage", `--build-context ${given}: this cannot be the name of a stage or image`);
  }
  if (value !== "") return name;
  throw new CooperError("usage", `--build-context ${given}: it does not say what it stands for`, {
    hint: `write --build-context ${given}=DIRECTORY, ${given}=docker-image://NAME or ${given}=URL`,
  });
}

function imageOf(given: string, value: string): string | undefined {
  if (value.startsWith(LAYOUT)) {
    const [, path = "", version = ""] = /^(.*?)((?:@[^/]*|:[^/:]*)?)$/.exec(value.slice(LAYOUT.length)) ?? [];
    if (path === "") throw new CooperError("usage", `--build-context ${given}: ${value} names no directory`);
    return `${LAYOUT}${resolve(path)}${version}`;
  }
  if (!IMAGE.test(value)) return undefined;
  const image = value.replace(IMAGE, "");
  if (image !== "scratch") parseReference(image);
  return image;
}

/** True for what must be fetched. Throws `unsupported` for what cannot be. */
function isElsewhere(given: string, value: string): boolean {
  if (/^(?:https?|git|ssh):\/\/|^[\w-]+@[A-Za-z0-9.-]+:/.test(value)) return true;
  if (!/^[a-z][a-z0-9+-]*:\/\//.test(value)) return false;
  const message = `--build-context ${given}: ${value.split("://")[0]}:// URLs cannot be contexts`;
  throw new CooperError("unsupported", message, {
    hint: "it can be a directory, docker-image://NAME, oci-layout://DIR, or an http, https, git or ssh URL",
  });
}

function directoryOf(given: string, value: string): string {
  const path = resolve(value);
  try {
    if (statSync(path).isDirectory()) return path;
  } catch (error) {
    if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTDIR") throw error;
    throw new CooperError("not-found", `--build-context ${given}: there is no directory ${value}`);
  }
  throw new CooperError("usage", `--build-context ${given}: ${value} is no directory`);
}
