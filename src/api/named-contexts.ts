import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { NamedContext } from "../builder/index.js";
import { contextName } from "../builder/index.js";
import type { BuildContext } from "../context/index.js";
import type { BuildOptions } from "../cooper.js";
import { CooperError, errnoOf } from "../errors.js";
import { parseReference } from "../image/index.js";
import type { LazyContext } from "./lazy-context.js";
import { lazyContext } from "./lazy-context.js";
import type { Workshop } from "./workshop.js";

/** `--build-context`s of a build. */
export interface NamedContexts {
  /** What the plan needs to know, by the names that `contextName` makes. */
  readonly meanings: ReadonlyMap<string, NamedContext>;
  /** A directory among them, fetched and opened when first asked. */
  readonly open: (name: string) => Promise<BuildContext>;
  readonly close: () => void;
}

const IMAGE = /^(?:docker-image|container-image|docker):\/\//;

/** An image in an OCI layout directory, as `findImage` takes it. */
export const LAYOUT = "oci-layout://";

/**
 * Reads `NAME=VALUE` pairs: a directory, `docker-image://NAME`, `oci-layout://DIR[:TAG|@DIGEST]`. A directory has its own
 * ignore file. Nothing is opened yet. Throws `usage`, `not-found`, `invalid-name`.
 */
export function namedContexts(workshop: Workshop, options: BuildOptions): NamedContexts {
  const meanings = new Map<string, NamedContext>();
  const directories = new Map<string, string>();
  const opened = new Map<string, LazyContext>();
  for (const [given, value] of Object.entries(options.buildContexts ?? {})) {
    const name = checkedName(given, value);
    const image = imageOf(given, value);
    meanings.set(name, image === undefined ? { kind: "directory" } : { kind: "image", image });
    if (image === undefined) directories.set(name, directoryOf(given, value));
  }
  return {
    meanings,
    open: async (name) => {
      const known = opened.get(name);
      if (known) return known.get();
      const directory = directories.get(name);
      if (directory === undefined) throw new Error(`no build context ${name}`);
      const context = lazyContext(workshop, { contextDir: directory }, options.onEvent);
      opened.set(name, context);
      return Promise.resolve(context.get());
    },
    close: () => {
      for (const context of opened.values()) context.close();
    },
  };
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
    hint: `write --build-context ${given}=DIRECTORY, or ${given}=docker-image://NAME`,
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

function directoryOf(given: string, value: string): string {
  if (/^[a-z][a-z0-9+-]*:\/\/|^git@/.test(value)) {
    throw new CooperError("unsupported", `--build-context ${given}: ${value} is not supported yet`);
  }
  const path = resolve(value);
  try {
    if (statSync(path).isDirectory()) return path;
  } catch (error) {
    if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTDIR") throw error;
    throw new CooperError("not-found", `--build-context ${given}: there is no directory ${value}`);
  }
  throw new CooperError("usage", `--build-context ${given}: ${value} is no directory`);
}
