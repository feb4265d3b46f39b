/**
 * snapshot/ owns what layers mean: tars, trees and blobs of one layer turned into each other, stacks of them read or
 * prepared for a mount, and what a step changed turned into a new layer.
 *
 * - A layer's tar is a pure function of its entries; whatever form it is read from, its digest is checked at the end.
 * - What an archive says is decided in memory, once (layer-index.ts); a tree on disk and a view of the tar follow it, so
 *   they agree. Extraction walks by descriptors, into a directory that only we can reach; names are bytes.
 * - Overlayfs's own records never come from or go into a tar; whiteouts and opaque directories translate both ways.
 * - A pulled layer keeps its blob or tar: its tree is an extra form, from which the same bytes may not be made again.
 * - A form is in place whole or not at all; a failure leaves nothing staged. Memory does not grow with contents.
 * It describes mounts and never makes one, runs no program but the host's decompressors, and refuses what it cannot keep.
 *
 * The tar codec is our own. tar-stream (3.2.2) decodes names and extended headers as UTF-8, which destroys capabilities
 * (binary attributes) and names of other bytes; it reads on after the end marker, ends the process on a truncated tar
 * unless every entry is guarded, and took 1.9 to 4.7 times as long for the same archive (four runs, both hashing, on a
 * busy machine). The tests use it as a second opinion on what we write.
 */
export * from "./types.js";
export { openSnapshotter } from "./snapshotter.js";
export type { SnapshotterOptions } from "./snapshotter.js";
