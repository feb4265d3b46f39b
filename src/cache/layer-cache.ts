import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf, ioError } from "../errors.js";
import { atomicWrite } from "../fs/index.js";
import type { Inputs } from "./explain.js";
import { explainChange } from "./explain.js";
import type { ListedInput } from "./file-list.js";
import { decodeFileList, encodeFileList, listedInput } from "./file-list.js";
import { FORMULA } from "./key.js";
import { isObject, keptComponents, parseRecord, recordBody, seal, unseal } from "./record.js";
import type { CacheKey, CacheRecord, LayerCache } from "./types.js";

/**
 * Opens the cache in a directory, which is made by the first write; reads nothing yet. Writes are atomic and not
 * synced: after a power loss an entry is whole or counts as missing. `now`: ms since 1970.
 */
export function openLayerCache(dir: string, now: () => number = Date.now): LayerCache {
  const places = placesIn(`${dir}/v${FORMULA}`);
  const recordOf = (key: string): CacheRecord | undefined => parseRecord(key, readSealed(places.record(key)));

  /** The list before its record, the record before the pointer to it: a kill in between leaves nothing that lies. */
  function record(key: CacheKey, site: string, result: Parameters<LayerCache["record"]>[2]): void {
    const { files, filesDigest } = key;
    const listed = files !== undefined && filesDigest !== undefined;
    if (listed && !existsSync(places.files(filesDigest)))
      write(places.files(filesDigest), encodeFileList(files));
    const entry: CacheRecord = {
      imageId: result.imageId,
      ...(result.diffId === undefined ? undefined : { diffId: result.diffId }),
      site,
      components: keptComponents(key.components),
      ...(listed ? { filesDigest } : undefined),
      createdAt: now(),
      ...(result.built === undefined ? undefined : { built: result.built }),
    };
    write(places.record(key.key), seal(recordBody(key, entry)));
    write(places.site(site), seal({ site, key: key.key }));
  }

  function explain(key: CacheKey, site: string): string | undefined {
    const pointer = readSealed(places.site(site));
    const latest = isObject(pointer) && pointer["site"] === site ? pointer["key"] : undefined;
    const before = typeof latest === "string" && /^[0-9a-f]{64}$/.test(latest) ? recordOf(latest) : undefined;
    if (!before) return undefined;
    const differs = before.filesDigest !== key.filesDigest;
    return explainChange(
      inputs(
        before,
        differs && before.filesDigest !== undefined ? readFileList(places.files(before.filesDigest)) : [],
      ),
      inputs(
        { ...key, components: keptComponents(key.components) },
        differs ? (key.files ?? []).map(listedInput) : [],
      ),
    );
  }

  return {
    lookup: (key) => recordOf(key.key),
    record,
    explain,
    memo(name) {
      const body = readSealed(places.memo(name));
      const value = isObject(body) && body["name"] === name ? body["value"] : undefined;
      return typeof value === "string" ? value : undefined;
    },
    setMemo: (name, value) => write(places.memo(name), seal({ name, value })),
  };
}

function placesIn(
  root: string,
): Readonly<Record<"record" | "files" | "site" | "memo", (name: string) => string>> {
  return {
    record: (key) => `${root}/${key.slice(0, 2)}/${key}.json`,
    files: (digest) => `${root}/files/${digest}`,
    site: (site) => `${root}/sites/${hashOf(site)}.json`,
    memo: (name) => `${root}/memo/${hashOf(name)}.json`,
  };
}

function inputs(
  of: Pick<CacheRecord, "components" | "filesDigest">,
  files: readonly ListedInput[] | undefined,
): Inputs {
  const { components, filesDigest } = of;
  return { components, ...(files && { files }), ...(filesDigest !== undefined && { filesDigest }) };
}

function readSealed(path: string): unknown {
  const bytes = readIfThere(path);
  return bytes && unseal(bytes.toString());
}

function readFileList(path: string): readonly ListedInput[] | undefined {
  const bytes = readIfThere(path);
  return bytes && decodeFileList(bytes);
}

/** Undefined also for what cannot be read: a cache that is out of order costs time and nothing else. */
function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

function write(path: string, content: string | Uint8Array): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw ioError("write", path, error);
  }
  atomicWrite(path, content, { durable: false, mode: 0o600 });
}

function hashOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}
