import { CooperError } from "../errors.js";
import {
  authFiles,
  defaultAuthFile,
  helperFor,
  readAuthFile,
  withCredential,
  withoutHost,
  writeAuthFile,
} from "./auth-file.js";
import type { AuthDocument, AuthPlaces, Credential } from "./auth-file.js";
import { tellHelper } from "./credential-helper.js";
import { canonicalHost } from "./hosts.js";

/** The registry that a user names for login: a scheme and a path are dropped. Throws `invalid-name`. */
export function loginHost(text: string): string {
  const host = text.replace(/^https?:\/\//i, "").replace(/\/.*$/s, "");
  if (host === "" || !URL.canParse(`https://${host}/`) || new URL(`https://${host}/`).username !== "") {
    throw new CooperError("invalid-name", `"${text.slice(0, 200)}" is not the name of a registry`);
  }
  return canonicalHost(host);
}

/** Stores a credential in the helper that the file names for this host, else in the file. */
export function storeCredential(
  host: string,
  credential: Credential,
  places: AuthPlaces,
  authFile: string | undefined,
): void {
  const path = authFile ?? defaultAuthFile(places);
  const document = readAuthFile(path) ?? {};
  const helper = helperFor(document, host);
  if (helper === undefined) return writeAuthFile(path, withCredential(document, host, credential));
  const input = JSON.stringify({
    ServerURL: helper.serverKey,
    Username: credential.username,
    Secret: credential.password,
  });
  tellHelper({ name: helper.name, action: "store", input }, places.env);
}

/** Forgets a host, or all, in the file that login writes. Throws `not-found` when it was not there. */
export function forgetCredential(host: string, places: AuthPlaces, authFile: string | undefined): void {
  const path = authFile ?? defaultAuthFile(places);
  const document = readAuthFile(path);
  const gone =
    document === undefined
      ? false
      : host === "all"
        ? forgetAll(path, document, places)
        : forgetOne(path, document, host, places);
  if (gone) return;
  const elsewhere = host === "all" ? undefined : otherFile(host, path, places);
  const hint =
    elsewhere === undefined
      ? {}
      : { hint: `${elsewhere} has credentials for it: use --authfile ${elsewhere}` };
  throw new CooperError(
    "not-found",
    `not logged in to ${host === "all" ? "any registry" : host} (${path})`,
    hint,
  );
}

function forgetOne(path: string, document: AuthDocument, host: string, places: AuthPlaces): boolean {
  const rest = withoutHost(document, host);
  const helper = helperFor(document, host);
  if (helper) tellHelper({ name: helper.name, action: "erase", input: helper.serverKey }, places.env);
  const listed = hostsIn(rest) < hostsIn(document);
  if (listed) writeAuthFile(path, rest);
  return listed || helper !== undefined;
}

function forgetAll(path: string, document: AuthDocument, places: AuthPlaces): boolean {
  const listed = hostsIn(document) > 0;
  for (const [host, name] of Object.entries(
    (document["credHelpers"] ?? {}) as Readonly<Record<string, unknown>>,
  )) {
    if (typeof name === "string") tellHelper({ name, action: "erase", input: host }, places.env);
  }
  if (listed) writeAuthFile(path, { ...document, auths: {} });
  return listed;
}

function hostsIn(document: AuthDocument): number {
  return Object.keys((document["auths"] ?? {}) as object).length;
}

function otherFile(host: string, path: string, places: AuthPlaces): string | undefined {
  return authFiles(places, undefined).find((other) => {
    if (other === path) return false;
    const document = readAuthFile(other);
    return document !== undefined && hostsIn(withoutHost(document, host)) < hostsIn(document);
  });
}
