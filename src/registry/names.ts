import { CooperError } from "../errors.js";
import { formatReference, parseReference } from "../image/index.js";
import type { FullReference, Reference } from "../image/index.js";
import { apiHost, canonicalHost, canonicalName, DOCKER_HUB } from "./hosts.js";
import type { RegistriesConf, RegistryRule } from "./registries-conf.js";

/** One server and repository that may serve a name. */
export interface Endpoint {
  /** Canonical `host[:port]`, as in names and auth files. */
  readonly host: string;
  readonly repository: string;
  /** `insecure = true` was written for it. */
  readonly insecure: boolean;
  /** True for a `[[registry.mirror]]` rather than the registry that the name means. */
  readonly mirror: boolean;
}

/** Text of an endpoint for messages: `host/repository`. */
export function endpointName(endpoint: Endpoint): string {
  return `${endpoint.host}/${endpoint.repository}`;
}

/**
 * All full names that a name may mean, canonical, in the order to try. Throws `not-found` for a short name when
 * `unqualified-search-registries` is written as an empty list and no alias fits.
 */
export function candidateNames(name: Reference, conf: RegistriesConf): readonly FullReference[] {
  if (name.registry !== undefined) return [canonicalName({ ...name, registry: name.registry })];
  const alias = conf.aliases.get(name.repository);
  const version = {
    ...(name.tag === undefined ? {} : { tag: name.tag }),
    ...(name.digest === undefined ? {} : { digest: name.digest }),
  };
  if (alias !== undefined) {
    const { registry, repository } = parseReference(alias);
    if (registry === undefined)
      throw new CooperError(
        "usage",
        `registries.conf: alias ${name.repository} = "${alias}" names no registry`,
      );
    return [canonicalName({ registry, repository, ...version })];
  }
  const registries = conf.searchRegistries ?? [DOCKER_HUB];
  if (registries.length === 0) {
    throw new CooperError(
      "not-found",
      `${formatReference(name)}: a short name, but registries.conf has no unqualified-search-registries`,
      {
        hint: "write the name with its registry, e.g. docker.io/library/NAME",
      },
    );
  }
  return registries.map((registry) => {
    // A search registry may have a path: registry.example.com/team.
    const [host = "", ...path] = registry.split("/");
    return canonicalName({ registry: host, repository: [...path, name.repository].join("/"), ...version });
  });
}

/** Where to pull a full name from: mirrors in order, then the place itself. Throws `denied` when it is blocked. */
export function pullEndpoints(name: FullReference, conf: RegistriesConf): readonly Endpoint[] {
  const found = ruleFor(name, conf);
  const { rule } = found ?? {};
  refuseBlocked(name, rule);
  const kind = name.digest === undefined ? "tag-only" : "digest-only";
  const mirrors = (rule?.mirrors ?? []).filter((mirror) => mirror.pull === "all" || mirror.pull === kind);
  const own = {
    host: name.registry,
    repository: name.repository,
    insecure: rule?.insecure ?? false,
    mirror: false,
  };
  return [
    ...mirrors.map((m) => ({
      ...relocate(name, found?.length ?? 0, m.location),
      insecure: m.insecure,
      mirror: true,
    })),
    rule?.location === undefined ? own : { ...own, ...relocate(name, found?.length ?? 0, rule.location) },
  ];
}

/** Where to push a full name to: locations and mirrors are for pulling only (containers-registries.conf(5)). Throws `denied`. */
export function pushEndpoint(name: FullReference, conf: RegistriesConf): Endpoint {
  const rule = ruleFor(name, conf)?.rule;
  refuseBlocked(name, rule);
  return {
    host: name.registry,
    repository: name.repository,
    insecure: rule?.insecure ?? false,
    mirror: false,
  };
}

/** Whether a rule for this registry as a whole says that it is insecure. */
export function hostIsInsecure(host: string, conf: RegistriesConf): boolean {
  return conf.rules.some((rule) => rule.insecure && matchLength(rule.prefix, host) > 0);
}

function refuseBlocked(name: FullReference, rule: RegistryRule | undefined): void {
  if (rule?.blocked)
    throw new CooperError("denied", `${formatReference(name)}: registries.conf blocks ${rule.prefix}`);
}

/** The rule with the longest matching prefix, and how many characters of the name it stands for. */
function ruleFor(
  name: FullReference,
  conf: RegistriesConf,
): { readonly rule: RegistryRule; readonly length: number } | undefined {
  const text = `${name.registry}/${name.repository}`;
  let best: { readonly rule: RegistryRule; readonly length: number } | undefined;
  for (const rule of conf.rules) {
    const length = matchLength(rule.prefix, text);
    const better = length > 0 && (best === undefined || rule.prefix.length > best.rule.prefix.length);
    if (better) best = { rule, length };
  }
  return best;
}

/** How many characters of `host/repository` a prefix covers; 0 when it does not fit. */
function matchLength(prefix: string, text: string): number {
  if (prefix.startsWith("*.")) {
    const host = text.split("/")[0] ?? "";
    return host.endsWith(prefix.slice(1)) && host.length > prefix.length - 1 ? host.length : 0;
  }
  const [host = "", ...path] = prefix.split("/");
  const canonical = [canonicalHost(host), ...path].join("/");
  const next = text[canonical.length];
  return text.startsWith(canonical) && (next === undefined || next === "/") ? canonical.length : 0;
}

function relocate(
  name: FullReference,
  length: number,
  location: string,
): { readonly host: string; readonly repository: string } {
  const rest = `${name.registry}/${name.repository}`.slice(length).replace(/^\//, "");
  const [host = "", ...path] = location.split("/");
  const repository = [...path, ...(rest === "" ? [] : [rest])].join("/");
  const { registry } = checkedName(`${host}/${repository}`, location);
  const canonical = canonicalHost(registry);
  return {
    host: canonical,
    repository: canonical === DOCKER_HUB && !repository.includes("/") ? `library/${repository}` : repository,
  };
}

/** A location comes from a file: what it makes of a name must be a name again before a URL is made of it. */
function checkedName(text: string, location: string): FullReference {
  const host = text.split("/")[0] ?? "";
  // `parseReference` takes a first part without dot or port for a repository; a location's first part is always a host.
  const probe = parseReference(
    /[.:]/.test(host) || host === "localhost" ? text : text.replace(host, `${host}:443`),
  );
  if (probe.registry === undefined)
    throw new CooperError("usage", `registries.conf: location "${location}" names no registry`);
  return { ...probe, registry: host };
}

/** Base URL of an endpoint's API on a scheme. */
export function apiUrl(scheme: "http" | "https", host: string): URL {
  return new URL(`${scheme}://${apiHost(host)}/v2/`);
}
