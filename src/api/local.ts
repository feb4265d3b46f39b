import type { BuildOptions, Cooper, RunImageOptions, TransferOptions } from "../cooper.js";
import { CooperError } from "../errors.js";
import { localName, parseReference } from "../image/index.js";
import { build } from "./build.js";
import { pullImage, registryOptions } from "./pull.js";
import type { Workshop } from "./workshop.js";

// What a cached build does not need is loaded when it is first asked for.
const listing = () => import("./images.js");
const archives = () => import("./save.js");

/** The API, done in this process. What needs privileges that this process lacks fails; `openCooper` decides where it is called. */
export function localCooper(workshop: Workshop): Cooper {
  const { store } = workshop;
  return {
    root: workshop.root,
    build: (options: BuildOptions) => build(workshop, options),
    pull: async (name, options = {}) => {
      const image = await pullImage(workshop, parseReference(name), options);
      return (await listing()).summarize(workshop, image);
    },
    push: async (nameOrId, destination, options = {}) => {
      const { pushImage } = await import("./push.js");
      return pushImage(workshop, nameOrId, destination, options);
    },
    images: async (options = {}) => (await listing()).listImages(workshop, options.all === true),
    inspect: async (nameOrId) => (await listing()).inspectImage(workshop, nameOrId),
    history: async (nameOrId) => (await listing()).historyOf(workshop, nameOrId),
    tag: async (nameOrId, names) => Promise.resolve(tagImage(workshop, nameOrId, names)),
    remove: (namesOrIds, options = {}) => {
      const all = options.all === true ? store.images().map((image) => image.id) : namesOrIds;
      return store.remove(all, { force: options.force === true || options.all === true });
    },
    save: async (namesOrIds, options) => (await archives()).saveNamed(workshop, namesOrIds, options),
    load: async (source, options = {}) => (await archives()).loadImages(workshop, source, options.signal),
    run: async (nameOrId, options: RunImageOptions & TransferOptions = {}) => {
      const { runImage } = await import("./run.js");
      return runImage(workshop, nameOrId, options);
    },
    login: async (host, credentials, options = {}) =>
      (await workshop.registry()).login(host, credentials, registryOptions(options)),
    logout: async (host, options = {}) => (await workshop.registry()).logout(host, registryOptions(options)),
    loggedIn: async (host, options = {}) => (await workshop.registry()).whoIs(host, registryOptions(options)),
    [Symbol.asyncDispose]: () => workshop[Symbol.asyncDispose](),
  };
}

function tagImage(workshop: Workshop, nameOrId: string, names: readonly string[]): void {
  const { id } = workshop.store.resolve(nameOrId);
  const parsed = names.map((name) => {
    const reference = parseReference(name);
    if (reference.digest)
      throw new CooperError("invalid-name", `cannot tag an image as "${name}": it has a digest`);
    return localName(reference);
  });
  for (const name of parsed) workshop.store.tag(name, id);
}
