import { CooperError, hasCode } from "../errors.js";
import { authFiles, entryFor, parseAuthDocument, readAuthFile } from "./auth-file.js";
import type { AuthDocument, AuthEntry, AuthPlaces, Credential } from "./auth-file.js";
import { askHelper, askHelperSync } from "./credential-helper.js";
import { canonicalHost } from "./hosts.js";

export interface CredentialQuery {
  readonly host: string;
  /** Empty: for the registry as a whole. */
  readonly repository: string;
  readonly authFile: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly warn: (message: string) => void;
}

/** Splits `--creds user:password`. Throws `usage` without showing it. */
export function parseCreds(creds: string): Credential {
  const colon = creds.indexOf(":");
  if (colon <= 0) throw new CooperError("usage", "credentials must be given as user:password");
  return { username: creds.slice(0, colon), password: creds.slice(colon + 1) };
}

/**
 * The stored credential for a repository: auth files in order (one that lacks the host passes on to the next, a helper
 * that fails too), then `DOCKER_AUTH_CONFIG`, then what GitLab gives its jobs; undefined when nobody knows one.
 */
export async function findCredential(
  query: CredentialQuery,
  places: AuthPlaces,
): Promise<Credential | undefined> {
  for (const entry of entries(query, places)) {
    const { helper } = entry;
    if (helper) {
      try {
        const found = await askHelper(helper.name, helper.serverKey, places.env, query.signal);
        if (found) return found;
      } catch (error) {
        reportHelper(error, query);
      }
    }
    if (entry.credential) return entry.credential;
  }
  return gitlabCredential(query.host, places.env);
}

/** As `findCredential`, without promises. */
export function findCredentialSync(query: CredentialQuery, places: AuthPlaces): Credential | undefined {
  for (const { helper, credential } of entries(query, places)) {
    if (helper) {
      try {
        const found = askHelperSync(helper.name, helper.serverKey, places.env);
        if (found) return found;
      } catch (error) {
        reportHelper(error, query);
      }
    }
    if (credential) return credential;
  }
  return gitlabCredential(query.host, places.env);
}

/** A config.json that came with an image or a desktop may name a helper that is not here: the next place may do. */
function reportHelper(error: unknown, { warn }: CredentialQuery): void {
  if (!hasCode(error, "auth")) throw error;
  warn((error as CooperError).message);
}

function* entries(
  { host, repository, authFile, warn }: CredentialQuery,
  places: AuthPlaces,
): Generator<AuthEntry> {
  for (const path of authFiles(places, authFile)) {
    const document = readable(path, path === authFile, warn);
    if (document) yield entryFor(document, host, repository, path);
  }
  const inline = places.env["DOCKER_AUTH_CONFIG"];
  if (inline)
    yield entryFor(parseAuthDocument(inline, "DOCKER_AUTH_CONFIG"), host, repository, "DOCKER_AUTH_CONFIG");
}

function readable(
  path: string,
  required: boolean,
  warn: (message: string) => void,
): AuthDocument | undefined {
  try {
    const document = readAuthFile(path);
    if (required && document === undefined)
      throw new CooperError("not-found", `auth file ${path} does not exist or is empty`);
    return document;
  } catch (error) {
    if (required || !hasCode(error, "io")) throw error;
    warn((error as CooperError).message);
    return undefined;
  }
}

/** Source: GitLab "Predefined CI/CD variables": the job's own registry, and the dependency proxy of its group. */
function gitlabCredential(host: string, env: AuthPlaces["env"]): Credential | undefined {
  const pair = (server: string | undefined, username: string | undefined, password: string | undefined) =>
    server && canonicalHost(server.replace(/:443$/, "")) === host && username && password
      ? { username, password }
      : undefined;
  return (
    pair(env["CI_REGISTRY"], env["CI_REGISTRY_USER"], env["CI_REGISTRY_PASSWORD"]) ??
    pair(env["CI_REGISTRY"], "gitlab-ci-token", env["CI_JOB_TOKEN"]) ??
    pair(
      env["CI_DEPENDENCY_PROXY_SERVER"],
      env["CI_DEPENDENCY_PROXY_USER"],
      env["CI_DEPENDENCY_PROXY_PASSWORD"],
    )
  );
}
