import { createHash } from "node:crypto";
import type { CacheKey, CacheRecord, KeyComponent } from "./types.js";

const DIGEST = /^(?:sha256:)?[0-9a-f]{64}$/;
const HEX = /^[0-9a-f]{64}$/;

/** The components as a record keeps them: opaque values as digests, which tell a change and not the value. */
export function keptComponents(components: readonly KeyComponent[]): readonly KeyComponent[] {
  return components.map((component) => {
    if (component.opaque !== true) return component;
    // Salted by the name, so that equal secrets under two names do not show as equal.
    const value = createHash("sha256")
      .update(JSON.stringify([component.name, component.value]))
      .digest("hex");
    return { ...component, value };
  });
}

/** A JSON file's text around a body, with the sum that `unseal` checks. */
export function seal(body: unknown): string {
  const text = JSON.stringify(body);
  return `{"sum":"${sumOf(text)}","body":${text}}\n`;
}

/** The body of a sealed text; undefined when it was cut off or altered. */
export function unseal(text: string): unknown {
  const found = /^\{"sum":"([0-9a-f]{64})","body":([^]*)\}\n$/.exec(text);
  if (!found || sumOf(found[2] ?? "") !== found[1]) return undefined;
  return JSON.parse(found[2] ?? "");
}

/** A record as it is sealed: with its key, so that a file under another's name is found out. */
export function recordBody(key: CacheKey, record: CacheRecord): unknown {
  return { key: key.key, ...record };
}

/** The record of a key; undefined when the body is not one. */
export function parseRecord(key: string, body: unknown): CacheRecord | undefined {
  if (!isObject(body) || body["key"] !== key) return undefined;
  const { imageId, diffId, site, createdAt, filesDigest, components, built } = body;
  if (typeof imageId !== "string" || !DIGEST.test(imageId)) return undefined;
  if (diffId !== undefined && (typeof diffId !== "string" || !DIGEST.test(diffId))) return undefined;
  if (filesDigest !== undefined && (typeof filesDigest !== "string" || !HEX.test(filesDigest)))
    return undefined;
  if (built !== undefined && typeof built !== "string") return undefined;
  if (typeof site !== "string" || typeof createdAt !== "number") return undefined;
  if (!Array.isArray(components) || !components.every(isComponent)) return undefined;
  return {
    imageId,
    ...(diffId === undefined ? undefined : { diffId }),
    site,
    components,
    ...(filesDigest === undefined ? undefined : { filesDigest }),
    createdAt,
    ...(built === undefined ? undefined : { built }),
  };
}

function isComponent(value: unknown): value is KeyComponent {
  if (!isObject(value)) return false;
  const { name, value: text, label } = value;
  return (
    typeof name === "string" && typeof text === "string" && (label === undefined || typeof label === "string")
  );
}

/** Narrows what JSON.parse gave. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sumOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
