import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { BuildOptions, Secret } from "../cooper.js";
import { CooperError, errnoOf, ioError } from "../errors.js";

/** As BuildKit: more is no secret, but a file. Bytes. */
const MAX_SECRET = 500 * 1024;

/** Looks up secrets by their ids; each is read when a step first asks for it. */
export type Secrets = (id: string) => Uint8Array | undefined;

/** Throws `not-found`, `usage` and `io` before anything runs: for a file that is not there, or a variable without a value. */
export function openSecrets(given: BuildOptions["secrets"] = {}): Secrets {
  const known = new Map(Object.entries(given));
  for (const [id, secret] of known) check(id, secret);
  const read = new Map<string, Uint8Array>();
  return (id) => {
    const secret = known.get(id);
    if (secret === undefined) return undefined;
    const content = read.get(id) ?? contentOf(id, secret);
    read.set(id, content);
    return content;
  };
}

/** The same options with the secrets' bytes: for a process that may not read the files, or has another environment. */
export function withSecrets<T extends BuildOptions>(options: T): T {
  if (options.secrets === undefined) return options;
  const secret = openSecrets(options.secrets);
  const bytes = Object.keys(options.secrets).map((id) => [id, secret(id)] as const);
  return { ...options, secrets: Object.fromEntries(bytes) };
}

function check(id: string, secret: Secret): void {
  if (secret instanceof Uint8Array) return checkSize(id, secret.length);
  if ("env" in secret) {
    if (process.env[secret.env] === undefined)
      throw new CooperError("not-found", `secret ${id}: the variable ${secret.env} is not set`);
    return;
  }
  const path = resolve(secret.file);
  try {
    const status = statSync(path);
    if (!status.isFile()) throw new CooperError("usage", `secret ${id}: ${path} is not a file`);
    checkSize(id, status.size);
    accessSync(path, constants.R_OK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT")
      throw new CooperError("not-found", `secret ${id}: there is no file ${path}`);
    throw ioError(`read secret ${id} from`, path, error);
  }
}

function contentOf(id: string, secret: Secret): Uint8Array {
  if (secret instanceof Uint8Array) return secret;
  if ("env" in secret) return Buffer.from(process.env[secret.env] ?? "");
  const path = resolve(secret.file);
  try {
    const content = readFileSync(path);
    checkSize(id, content.length);
    return content;
  } catch (error) {
    throw ioError(`read secret ${id} from`, path, error);
  }
}

function checkSize(id: string, size: number): void {
  if (size > MAX_SECRET) throw new CooperError("usage", `secret ${id} is larger than 500 KiB`);
}
