/**
 * cache/ owns what decides whether a step must run again: the formula of a CacheKey, the records of earlier results, and
 * the one line that says which input changed.
 *
 * - A key is a pure function of named components and input files; its encoding is canonical and its version part of it.
 *   `fixtures/cache-keys/` holds keys that must never change without a new `FORMULA`.
 * - A hit costs one file open: no directory is listed, and a record does not hold its list of files (`files/<digest>`).
 * - Records keep the inputs, so a miss is explained by the newest record of the same site; opaque values are kept as
 *   digests only.
 * - Nothing on disk is believed: sums and shapes are checked, and whatever is wrong is a miss, never an error.
 * - It does not know images, layers or instructions: that a record's image is still stored is the builder's to check.
 *   It never deletes; its directory may be removed at any time at the cost of a rebuild.
 */
export type { CacheKey, CacheRecord, InputFile, KeyComponent, LayerCache } from "./types.js";
export { inputFile } from "./input-file.js";
export { FORMULA, makeKey } from "./key.js";
export { openLayerCache } from "./layer-cache.js";
