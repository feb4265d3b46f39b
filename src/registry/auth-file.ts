import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { makeDirectories } from "../fs/index.js";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { canonicalHost, DOCKER_HUB, DOCKER_HUB_KEY } from "./hosts.js";

/** What opens a registry. An identity token is exchanged for access tokens (OAuth2). */
export interface Credential {
  readonly username: string;
  readonly password: string;
  readonly identityToken?: string;
}

/** Where the process looks for credentials. */
export interface AuthPlaces {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly uid: number;
}

/** An auth file as read: unknown keys are kept. Source: containers-auth.json(5). */
export type AuthDocument = Readonly<Record<string, unknown>>;
/** What a file says about a name: a credential, a helper program to ask, or both (the helper goes first). */
export interface AuthEntry {
  readonly credential?: Credential;
  /** Name of the helper (`docker-credential-NAME`) with the key to ask it for. */
  readonly helper?: { readonly name: string; readonly serverKey: string };
}

/** Where `login` writes: `$REGISTRY_AUTH_FILE`, else the session's runtime directory, as podman. */
export function defaultAuthFile({ env, uid }: AuthPlaces): string {
  const runtime = env["XDG_RUNTIME_DIR"] || undefined;
  return (
    env["REGISTRY_AUTH_FILE"] ||
    (runtime ? join(runtime, "containers/auth.json") : `/run/containers/${uid}/auth.json`)
  );
}

/** All files that may hold credentials, best first. Source: containers-auth.json(5); the docker command's config.json. */
export function authFiles(places: AuthPlaces, explicit: string | undefined): readonly string[] {
  const { env, home, uid } = places;
  const runtime = env["XDG_RUNTIME_DIR"]
    ? join(env["XDG_RUNTIME_DIR"], "containers/auth.json")
    : `/run/containers/${uid}/auth.json`;
  return [
    ...(explicit === undefined ? [] : [explicit]),
    ...(env["REGISTRY_AUTH_FILE"] ? [env["REGISTRY_AUTH_FILE"]] : []),
    runtime,
    join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "containers/auth.json"),
    join(env["DOCKER_CONFIG"] || join(home, ".docker"), "config.json"),
    join(home, ".dockercfg"),
  ];
}

/** Reads an auth file; undefined when there is none. Throws `usage` for what is no JSON object, without quoting it. */
export function readAuthFile(path: string): AuthDocument | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw ioError("read", path, error);
  }
  if (text.trim() === "") return undefined;
  const document = parseAuthDocument(text, path);
  // The old .dockercfg is the table of hosts itself.
  return path.endsWith(".dockercfg") ? { auths: document } : document;
}

/** As `readAuthFile`, for text from elsewhere. */
export function parseAuthDocument(text: string, what: string): AuthDocument {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new CooperError("usage", `${what} is not valid JSON`);
  }
  if (!isTable(value)) throw new CooperError("usage", `${what} is not a JSON object`);
  return value;
}

/**
 * What a document says about `host/repository`: the most specific key first, and for each key
 * credHelpers, then credsStore (hosts only), then auths.
 */
export function entryFor(document: AuthDocument, host: string, repository: string, what: string): AuthEntry {
  const helper = helperFor(document, host);
  const auths = tableOf(document, "auths");
  const path = repository === "" ? [] : repository.split("/");
  const specific = path.map((_, i) => [host, ...path.slice(0, path.length - i)].join("/"));
  const exact = specific.find((key) => hasCredential(auths[key]));
  const key = exact ?? hostKeys(auths, host).find((k) => hasCredential(auths[k]));
  const credential = key === undefined ? undefined : credentialOf(auths[key], `${what}: ${key}`);
  // A key with a path is more specific than any helper, which knows hosts only.
  const asked = exact === undefined ? helper : undefined;
  return { ...(credential ? { credential } : {}), ...(asked ? { helper: asked } : {}) };
}

/** The helper program that keeps the credentials of a host. */
export function helperFor(document: AuthDocument, host: string): AuthEntry["helper"] {
  const helpers = tableOf(document, "credHelpers");
  const key = hostKeys(helpers, host)[0];
  const named = key === undefined ? document["credsStore"] : helpers[key];
  if (typeof named !== "string" || named === "") return undefined;
  return { name: named, serverKey: host === DOCKER_HUB ? DOCKER_HUB_KEY : host };
}

/** The keys of a table that mean a host: itself, then old forms with scheme or path (`https://host/v1/`). */
function hostKeys(table: AuthDocument, host: string): readonly string[] {
  const means = (key: string) => {
    if (key === host) return true;
    const [name = "", ...path] = key.replace(/^https?:\/\//i, "").split("/");
    const plainPath = key.includes("://")
      ? path.join("/") === "" || /^v[12]\/?$/.test(path.join("/"))
      : path.length === 0;
    return plainPath && canonicalHost(name) === host;
  };
  const keys = Object.keys(table).filter(means);
  return keys.toSorted((a, b) => Number(b === host) - Number(a === host));
}

function credentialOf(entry: unknown, what: string): Credential | undefined {
  if (!isTable(entry)) return undefined;
  const { auth, username, password, identitytoken } = entry;
  const token =
    typeof identitytoken === "string" && identitytoken !== "" ? { identityToken: identitytoken } : {};
  if (typeof auth === "string" && auth !== "") {
    const text = Buffer.from(auth, "base64").toString("utf8");
    const colon = text.indexOf(":");
    if (colon < 0) throw new CooperError("usage", `${what}: "auth" is not the base64 of user:password`);
    // Old docker versions padded with NUL.
    return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, ""), ...token };
  }
  if (typeof username === "string" && typeof password === "string") return { username, password, ...token };
  return "identityToken" in token
    ? { username: typeof username === "string" ? username : "", password: "", ...token }
    : undefined;
}

function hasCredential(entry: unknown): boolean {
  return (
    isTable(entry) &&
    ["auth", "username", "identitytoken"].some((key) => typeof entry[key] === "string" && entry[key] !== "")
  );
}

/** The document with a credential stored under a host; all other content is kept. */
export function withCredential(document: AuthDocument, host: string, credential: Credential): AuthDocument {
  const auth = Buffer.from(`${credential.username}:${credential.password}`).toString("base64");
  const others = tableOf(withoutHost(document, host), "auths");
  return { ...document, auths: { ...others, [host === DOCKER_HUB ? DOCKER_HUB_KEY : host]: { auth } } };
}

/** The document without any key of a host. */
export function withoutHost(document: AuthDocument, host: string): AuthDocument {
  const auths = tableOf(document, "auths");
  const gone = hostKeys(auths, host);
  return {
    ...document,
    auths: Object.fromEntries(Object.entries(auths).filter(([key]) => !gone.includes(key))),
  };
}

/** Replaces an auth file: mode 0600 from the first byte, complete or not at all. */
export function writeAuthFile(path: string, document: AuthDocument): void {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}`;
  try {
    makeDirectories(dirname(path), 0o700);
    const fd = openSync(temporary, "wx", 0o600);
    try {
      writeSync(fd, `${JSON.stringify(document, undefined, "\t")}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw ioError("write", path, error);
  }
}

function isTable(value: unknown): value is AuthDocument {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tableOf(document: AuthDocument, key: string): AuthDocument {
  const value = document[key];
  return isTable(value) ? value : {};
}
