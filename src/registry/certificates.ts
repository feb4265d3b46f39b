import { readdirSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { readPem } from "../net/index.js";
import type { ConfPlaces } from "./registries-conf.js";
import { DOCKER_HUB } from "./hosts.js";

/** PEM texts. `client` is shown to the registry itself only, never to a server that it refers to. */
export interface TlsMaterial {
  readonly ca: readonly string[];
  readonly client?: { readonly cert: string; readonly key: string };
}

/**
 * What certs.d directories and `--cert-dir` hold for a host: every `*.crt` is an authority, the first `*.cert` with its
 * `*.key` the client's certificate. Source: containers-certs.d(5). Throws `usage` for a certificate without key.
 */
export function hostCertificates(
  host: string,
  certDir: string | undefined,
  { home, etc, env }: ConfPlaces,
): TlsMaterial {
  const configHome = env["XDG_CONFIG_HOME"] || join(home, ".config");
  const roots = [
    join(configHome, "containers/certs.d"),
    join(etc, "containers/certs.d"),
    join(etc, "docker/certs.d"),
  ];
  const names = host === DOCKER_HUB ? [host, "registry-1.docker.io"] : [host];
  const dirs = [
    ...(certDir === undefined ? [] : [certDir]),
    ...roots.flatMap((root) => names.map((name) => join(root, name))),
  ];
  const found = dirs.flatMap((dir) => listDir(dir, dir === certDir).map((name) => join(dir, name)));
  const ca = found.filter((path) => path.endsWith(".crt")).map((path) => readPem(path, false) ?? "");
  const cert = found.find((path) => path.endsWith(".cert"));
  if (cert === undefined) return { ca };
  const key = cert.replace(/cert$/, "key");
  if (!found.includes(key))
    throw new CooperError("usage", `client certificate ${cert} has no key: ${key} is missing`);
  return { ca, client: { cert: readPem(cert, false) ?? "", key: readPem(key, false) ?? "" } };
}

function listDir(dir: string, required: boolean): readonly string[] {
  try {
    return readdirSync(dir).toSorted();
  } catch (error) {
    const errno = errnoOf(error);
    if (!required && (errno === "ENOENT" || errno === "ENOTDIR" || errno === "EACCES")) return [];
    throw ioError("read", dir, error);
  }
}
