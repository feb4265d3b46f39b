import type { BuildOptions, Cooper, RunImageOptions, TransferOptions } from "../cooper.js";
import { CooperError, hasCode } from "../errors.js";
import { localName, parseReference } from "../image/index.js";
import { build } from "./build.js";
import { withDriver } from "./isolation.js";
import { pullImage, registryOptions } from "./pull.js";
import type { DoctorPart } from "./doctor.js";
import type { Workshop } from "./workshop.js";

// What a cached build does not need is loaded when it is first asked for.
const listing = () => import("./images.js");
const archives = () => import("./save.js");

/**
 * The API, done in this process. What needs privileges that this process lacks fails; `openCooper` decides where it is
 * called. Where the store could not be opened, everything that needs one fails with the reason.
 */
export function localCooper(workshop: Workshop): Cooper {
  const cooper = workingCooper(workshop);
  const { storeRefusal } = workshop;
  if (storeRefusal === undefined) return cooper;
  const refused = NEEDING_THE_STORE.map((name) => [name, () => Promise.reject(storeRefusal)]);
  return { ...cooper, ...(Object.fromEntries(refused) as Pick<Cooper, StoreMethod>) };
}

const NEEDING_THE_STORE = [
  "build",
  "lint",
  "pull",
  "push",
  "images",
  "inspect",
  "history",
  "tag",
  "remove",
  "save",
  "load",
  "run",
] as const satisfies readonly (keyof Cooper)[];
type StoreMethod = (typeof NEEDING_THE_STORE)[number];

function workingCooper(workshop: Workshop): Cooper {
  return {
    root: workshop.root,
    build: (options: BuildOptions) =>
      abortable(options.signal, () => withDriver(() => build(workshop, options))),
    lint: (options = {}) =>
      abortable(options.signal, async () => {
        const { lintFile } = await import("./lint.js");
        return lintFile(workshop, options);
      }),
    pull: (name, options = {}) =>
      abortable(options.signal, async () => {
        const image = await pullImage(workshop, parseReference(name), options);
        return (await listing()).summarize(workshop, image);
      }),
    push: (nameOrId, destination, options = {}) =>
      abortable(options.signal, async () => {
        const { pushImage } = await import("./push.js");
        return pushImage(workshop, nameOrId, destination, options);
      }),
    images: async (options = {}) => (await listing()).listImages(workshop, options.all === true),
    inspect: async (nameOrId) => (await listing()).inspectImage(workshop, nameOrId),
    history: async (nameOrId) => (await listing()).historyOf(workshop, nameOrId),
    tag: async (nameOrId, names) => Promise.resolve(tagImage(workshop, nameOrId, names)),
    remove: (namesOrIds, options = {}) => {
      const { store } = workshop;
      const all = options.all === true ? store.images().map((image) => image.id) : namesOrIds;
      return store.remove(all, { force: options.force === true || options.all === true });
    },
    save: (namesOrIds, options) =>
      abortable(options.signal, async () => (await archives()).saveNamed(workshop, namesOrIds, options)),
    load: (source, options = {}) =>
      abortable(options.signal, async () => (await archives()).loadImages(workshop, source, options.signal)),
    run: (nameOrId, options: RunImageOptions & TransferOptions = {}) =>
      abortable(options.signal, async () => {
        const { runImage } = await import("./run.js");
        return withDriver(() => runImage(workshop, nameOrId, options));
      }),
    doctor: (options: DoctorPart = {}) =>
      abortable(options.signal, async () => {
        const { diagnose } = await import("./doctor.js");
        return diagnose(workshop, options);
      }),
    login: async (host, credentials, options = {}) =>
      (await workshop.registry()).login(host, credentials, registryOptions(options)),
    logout: async (host, options = {}) => (await workshop.registry()).logout(host, registryOptions(options)),
    loggedIn: async (host, options = {}) => (await workshop.registry()).whoIs(host, registryOptions(options)),
    [Symbol.asyncDispose]: () => workshop[Symbol.asyncDispose](),
  };
}

/** Whatever a room, Node or undici throws when the signal fires: for the caller it is one error, `aborted`. */
async function abortable<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await work();
  } catch (error) {
    const isAbort = error === signal?.reason || (error instanceof Error && error.name === "AbortError");
    if (signal?.aborted !== true || !isAbort || hasCode(error, "aborted")) throw error;
    throw new CooperError("aborted", "the operation was aborted", { cause: error, exitCode: 130 });
  }
}

function tagImage(workshop: Workshop, nameOrId: string, names: readonly string[]): void {
  const { id, format } = workshop.store.resolve(nameOrId);
  const parsed = names.map((name) => {
    const reference = parseReference(name);
    if (reference.digest)
      throw new CooperError("invalid-name", `cannot tag an image as "${name}": it has a digest`);
    return localName(reference);
  });
  for (const name of parsed) workshop.store.tag(name, id, format);
}
