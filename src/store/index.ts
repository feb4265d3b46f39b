/**
 * store/ owns what cooper keeps on disk under one root: blobs named by digest, layers named by DiffId, image records, names.
 *
 * - Nothing is visible before it is whole: a temporary in `tmp/`, then a rename; the pointer after the thing it points to.
 *   A kill at any instant leaves garbage for the next writer's sweep, and never a broken image.
 * - What is read back is verified; damage is `corrupt`, naming the object, and other images go on working.
 * - Many processes share one store. Each tells in `locks/` what it uses, and a removal leaves that alone (session.ts). What a
 *   store has handed out or taken in stays until it is closed, whoever else removes it; a removal by the same open store
 *   respects only leases and what no image has yet.
 * - No text from outside becomes a path: names are parsed and escaped, digests checked.
 * It refuses to open what another user, flavour or a newer cooper wrote. It never looks into a layer's content.
 */
export { checkStore } from "./check.js";
export type { CheckOptions, StoreProblem } from "./check.js";
export { openStore } from "./open.js";
export type { StoreOptions } from "./open.js";
export type * from "./types.js";
export { cacheMountName } from "./cache-mounts.js";
export type { CacheMountRequest, TakenCache } from "./cache-mounts.js";
