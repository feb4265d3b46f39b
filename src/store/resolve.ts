import { CooperError } from "../errors.js";
import { formatReference, localName, parseReference } from "../image/index.js";
import type { Digest, Reference } from "../image/index.js";

/** What `findImage` searches in; each part is read only when it is needed. */
export interface Findable {
  ref(name: string): Digest | undefined;
  names(): ReadonlyMap<string, Digest>;
  ids(): readonly Digest[];
  manifestOf(id: Digest): Digest | undefined;
}

/** How an image was found; `name` is missing when it was by id. */
export interface Found {
  readonly id: Digest;
  readonly name?: string;
}

const ID_PREFIX = /^(?:sha256:)?([0-9a-f]{3,64})$/;

/**
 * Finds an image as users name it: by name (exact; `localhost/`; any stored name that ends in it), by `name@digest` of the
 * manifest it was pulled with, or by id. Names go before ids. Throws `not-found`, or `invalid-name` when it is ambiguous.
 */
export function findImage(text: string, store: Findable): Found {
  const hex = ID_PREFIX.exec(text)?.[1];
  const byName = text.startsWith("sha256:")
    ? undefined
    : findByName(parse(text, hex !== undefined), text, store);
  const found = byName ?? (hex === undefined ? undefined : findById(hex, text, store));
  if (found) return found;
  const name = text.replaceAll("\n", "\\n");
  throw new CooperError("not-found", `there is no image ${name} in the store`, {
    hint: "`cooper images` lists what there is, `cooper pull` fetches an image",
  });
}

/** Upper-case text and the like is no name; but what could be an id is never refused for its grammar. */
function parse(text: string, mayBeId: boolean): Reference | undefined {
  try {
    return parseReference(text);
  } catch (error) {
    if (mayBeId) return undefined;
    throw error;
  }
}

function findByName(reference: Reference | undefined, text: string, store: Findable): Found | undefined {
  if (!reference) return undefined;
  const name = formatReference(localName(reference));
  const exact = store.ref(name);
  if (exact) return { id: exact, name };
  const { registry, digest } = reference;
  const repository =
    registry === undefined ? `/${reference.repository}` : `${registry}/${reference.repository}`;
  const names = [...store.names()].filter(([full]) => {
    const at = full.lastIndexOf("@") < 0 ? full.length : full.lastIndexOf("@");
    const slash = full.lastIndexOf("/", at);
    const colon = full.lastIndexOf(":", at);
    const path = full.slice(0, colon > slash ? colon : at);
    return registry === undefined ? path.endsWith(repository) : path === repository;
  });
  if (digest !== undefined) {
    return unique(
      text,
      names.filter(([full, id]) => full.endsWith(`@${digest}`) || store.manifestOf(id) === digest),
    );
  }
  if (registry !== undefined) return undefined;
  return unique(
    text,
    names.filter(([full]) => full.endsWith(`${repository}:${reference.tag ?? "latest"}`)),
  );
}

function unique(text: string, names: readonly (readonly [string, Digest])[]): Found | undefined {
  const [first] = names;
  if (!first) return undefined;
  if (names.every(([, id]) => id === first[1])) return { id: first[1], name: first[0] };
  throw new CooperError("invalid-name", `${text} may mean any of ${names.map(([name]) => name).join(", ")}`);
}

function findById(prefix: string, text: string, store: Findable): Found | undefined {
  const ids = store.ids().filter((id) => id.startsWith(`sha256:${prefix}`));
  const [id, ...others] = ids;
  if (id === undefined) return undefined;
  if (others.length === 0) return { id };
  throw new CooperError(
    "invalid-name",
    `${text} may mean any of ${ids.map((one) => one.slice(7, 19)).join(", ")}: give more digits`,
  );
}
