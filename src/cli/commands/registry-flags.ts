import type { TransferOptions } from "../../cooper.js";
import { CooperError } from "../../errors.js";
import type { Flags, FlagTable } from "../args.js";
import { usage } from "../args.js";

/** The flags of every command that talks to a registry. */
export const registryFlags = {
  "tls-verify": {
    kind: "boolean",
    help: "require HTTPS and verify certificates (default: as registries.conf says, else true)",
  },
  creds: { kind: "string", value: "USER:PASSWORD", help: "credentials for the registry" },
  authfile: { kind: "string", value: "FILE", help: "read and write credentials here" },
  "cert-dir": {
    kind: "string",
    value: "DIR",
    help: "directory with *.crt, *.cert and *.key for the registry",
  },
} as const satisfies FlagTable;

/** For the commands that move images. */
export const transferFlags = {
  ...registryFlags,
  retry: { kind: "number", value: "N", help: "try each request this many times more (default 3)" },
} as const satisfies FlagTable;

/** The flags as options; what was not given stays out. */
export function transferOptions(flags: Partial<Flags<typeof transferFlags>>): TransferOptions {
  const { creds, authfile, retry } = flags;
  if (creds !== undefined && !/^[^:]+:/.test(creds)) throw usage("--creds needs USER:PASSWORD");
  return {
    ...(flags["tls-verify"] === undefined ? {} : { tlsVerify: flags["tls-verify"] }),
    ...(creds === undefined ? {} : { creds }),
    ...(authfile === undefined ? {} : { authFile: authfile }),
    ...(flags["cert-dir"] === undefined ? {} : { certDir: flags["cert-dir"] }),
    ...(retry === undefined ? {} : { retries: retry }),
  };
}

/** A name as podman also takes it, with `docker://` in front. Throws `unsupported` for its other transports. */
export function withoutTransport(name: string): string {
  const transport = /^(docker|docker-archive|docker-daemon|oci|oci-archive|dir|containers-storage):/.exec(
    name,
  )?.[1];
  if (name.startsWith("docker://")) return name.slice("docker://".length);
  // `oci:1` alone is an image called "oci" with a tag.
  if (transport === undefined || !/^[a-z-]+:.*\//.test(name)) return name;
  throw new CooperError("unsupported", `the transport "${transport}:" is not supported: ${name}`);
}
