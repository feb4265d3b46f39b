import { CooperError } from "../errors.js";
import type { Digest } from "./digest.js";
import { isDigest } from "./digest.js";

/** A parsed image name. `registry` is missing for a short name (`alpine`, `library/alpine`). */
export interface Reference {
  readonly registry?: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** A name that says where it lives. */
export interface FullReference extends Reference {
  readonly registry: string;
}

/** The registry of images that were built or tagged here without one, as podman writes it. */
export const LOCAL_REGISTRY = "localhost";

// Grammar: docker/distribution reference; OCI distribution-spec "Pulling manifests" for repository and tag.
const COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const HOST_LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const REGISTRY = new RegExp(`^(?:${HOST_LABEL}(?:\\.${HOST_LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`);
const TAG = /^\w[\w.-]{0,127}$/;
const MAX_LENGTH = 255 + 128 + 72 + 255;

function invalid(text: string, why: string): CooperError {
  // A name of two lines would make two lines of the message.
  const message = `invalid image name "${text.slice(0, 200)}": ${why}`;
  return new CooperError("invalid-name", message.replaceAll("\n", "\\n"));
}

function splitDigest(text: string): { readonly name: string; readonly digest?: Digest } {
  const at = text.indexOf("@");
  if (at < 0) return { name: text };
  const digest = text.slice(at + 1);
  if (!isDigest(digest)) throw invalid(text, "what follows @ must be sha256: and 64 lower-case hex digits");
  return { name: text.slice(0, at), digest };
}

function splitRegistry(name: string): { readonly registry?: string; readonly rest: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const named =
    first.includes(".") || first.includes(":") || first === LOCAL_REGISTRY || first !== first.toLowerCase();
  return named ? { registry: first, rest: name.slice(slash + 1) } : { rest: name };
}

/** Parses `[registry/]repository[:tag][@digest]`. Throws `invalid-name`, saying which part is wrong. */
export function parseReference(text: string): Reference {
  if (text.length > MAX_LENGTH) throw invalid(text, "it is too long");
  const { name, digest } = splitDigest(text);
  const { registry, rest } = splitRegistry(name);
  if (registry !== undefined && !REGISTRY.test(registry))
    throw invalid(text, `"${registry}" is not a host name`);
  const colon = rest.indexOf(":");
  const repository = colon < 0 ? rest : rest.slice(0, colon);
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  if (repository === "") throw invalid(text, "there is no repository name");
  if (repository !== repository.toLowerCase()) throw invalid(text, "the repository name must be lower case");
  if (!REPOSITORY.test(repository) || repository.length > 255) {
    throw invalid(text, "a repository name has lower-case letters, digits and single . _ - / between them");
  }
  if (tag !== undefined && !TAG.test(tag)) throw invalid(text, `"${tag}" is not a tag`);
  return {
    ...(registry === undefined ? {} : { registry }),
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The canonical text of a name. */
export function formatReference(reference: Reference): string {
  const registry = reference.registry === undefined ? "" : `${reference.registry}/`;
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${registry}${reference.repository}${tag}${digest}`;
}

/** The name under which the store keeps a tag: `localhost/` for a short name, `:latest` where neither tag nor digest is given. */
export function localName(reference: Reference): FullReference {
  const tag = reference.tag ?? (reference.digest ? undefined : "latest");
  return {
    registry: reference.registry ?? LOCAL_REGISTRY,
    repository: reference.repository,
    ...(tag === undefined ? {} : { tag }),
    ...(reference.digest ? { digest: reference.digest } : {}),
  };
}
