import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { ioError } from "../errors.js";

const SYSTEM_BUNDLES = [
  "ssl/certs/ca-certificates.crt",
  "pki/tls/certs/ca-bundle.crt",
  "ssl/ca-bundle.pem",
  "ssl/cert.pem",
];

/** Where authorities are looked for; `etc` is `/etc` but in tests. */
export interface AuthorityPlaces {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly etc: string;
}

/**
 * The authorities for everything: Node's own, NODE_EXTRA_CA_CERTS, and SSL_CERT_FILE, else the system's bundle.
 * A file that a variable names and that cannot be read is an error (`io`): silence would look like a broken registry.
 */
export function systemAuthorities({ env, etc }: AuthorityPlaces): readonly string[] {
  const named = env["SSL_CERT_FILE"];
  const bundles = named
    ? [named]
    : SYSTEM_BUNDLES.map((path) => join(etc, path))
        .filter((path) => readPem(path, true) !== undefined)
        .slice(0, 1);
  const extra = env["NODE_EXTRA_CA_CERTS"];
  const texts = [...bundles, ...(extra ? [extra] : [])].map((path) => readPem(path, false) ?? "");
  // The bundles hold mostly what Node has: each certificate is parsed once.
  const certificates = texts.flatMap(
    (text) => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [],
  );
  return [...new Set([...rootCertificates, ...certificates].map((pem) => pem.trim()))];
}

/** Text of a certificate or key file; undefined when it is `optional` and cannot be read. Throws `io`. */
export function readPem(path: string, optional: boolean): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (optional) return undefined;
    throw ioError("read", path, error);
  }
}
