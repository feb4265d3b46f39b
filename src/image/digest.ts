import { createHash } from "node:crypto";
import { CooperError } from "../errors.js";

/** Digest of bytes as stored (a blob: manifest, config, compressed layer). */
export type Digest = `sha256:${string}` & { readonly __brand: "Digest" };
/** Digest of a layer's tar before compression. Source: OCI image-spec, config.md `rootfs.diff_ids`. */
export type DiffId = `sha256:${string}` & { readonly __brand: "DiffId" };
/** Digest that names a stack of layers. Source: OCI image-spec, config.md "Layer ChainID". */
export type ChainId = `sha256:${string}` & { readonly __brand: "ChainId" };

const SHA256 = /^sha256:[a-f0-9]{64}$/;

/** True for `sha256:` and 64 lower-case hex digits: safe to put into a path or URL. */
export function isDigest(text: unknown): text is Digest {
  return typeof text === "string" && SHA256.test(text);
}

/** Checks a digest from outside. Throws `corrupt`, naming `what` held it. */
export function parseDigest(text: unknown, what: string): Digest {
  if (isDigest(text)) return text;
  throw new CooperError("corrupt", `${what}: not a sha256 digest: ${JSON.stringify(text)?.slice(0, 100)}`);
}

/** As `parseDigest`, for the digest of an uncompressed layer. */
export function parseDiffId(text: unknown, what: string): DiffId {
  return parseDigest(text, what) as string as DiffId;
}

/** The 64 hex digits. */
export function hexOf(digest: Digest | DiffId | ChainId): string {
  return digest.slice("sha256:".length);
}

/** The digest of bytes held in memory. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}` as Digest;
}

/** A finished sha256 as a Digest or DiffId. */
export function digestFromHex<D extends Digest | DiffId | ChainId = Digest>(hex: string): D {
  return `sha256:${hex}` as D;
}

/** ChainId of a stack, oldest layer first; undefined for an empty stack. */
export function chainIdOf(diffIds: readonly DiffId[]): ChainId | undefined {
  let chain: string | undefined;
  for (const diffId of diffIds) chain = chain === undefined ? diffId : digestOf(`${chain} ${diffId}`);
  return chain as ChainId | undefined;
}
