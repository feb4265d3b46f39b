import type { FullReference } from "../image/index.js";

/** The name of Docker Hub in image names. */
export const DOCKER_HUB = "docker.io";
/** The key of Docker Hub in auth files, as docker writes it. */
export const DOCKER_HUB_KEY = "https://index.docker.io/v1/";
const HUB_API = "registry-1.docker.io";
const HUB_NAMES: readonly string[] = [DOCKER_HUB, "index.docker.io", HUB_API, "registry.hub.docker.com"];

/** A registry's name as we keep it: lower case, any of Docker Hub's names as `docker.io`. */
export function canonicalHost(host: string): string {
  const lower = host.toLowerCase();
  return HUB_NAMES.includes(lower) ? DOCKER_HUB : lower;
}

/** `host[:port]` that serves the API of a registry. */
export function apiHost(host: string): string {
  return host === DOCKER_HUB ? HUB_API : host;
}

/** A full name in its canonical form: `docker.io/alpine` is `docker.io/library/alpine`; no tag and no digest is `:latest`. */
export function canonicalName(name: FullReference): FullReference {
  const registry = canonicalHost(name.registry);
  const official = registry === DOCKER_HUB && !name.repository.includes("/");
  const tag = name.tag ?? (name.digest === undefined ? "latest" : undefined);
  return {
    registry,
    repository: official ? `library/${name.repository}` : name.repository,
    ...(tag === undefined ? {} : { tag }),
    ...(name.digest === undefined ? {} : { digest: name.digest }),
  };
}
