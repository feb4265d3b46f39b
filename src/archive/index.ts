/**
 * archive/ owns images outside the store: OCI layouts (directory or tar), docker archives, and a root file system
 * written out as plain files. It streams: no blob is held in memory, and documents are capped at 4 MiB.
 *
 * Reading trusts nothing: blob names must be digests, a name that stands twice is refused, links are not followed, and
 * every blob is verified by whoever stores it. Writing goes to a temporary name that is renamed when it is whole.
 *
 * It knows neither the store nor snapshots: it takes bytes from a BlobSource and hands them to a BlobSink.
 */
export { readArchive, readIndex } from "./read.js";
export type { ArchiveSink, ReadImage } from "./read.js";
export { writeArchive } from "./write.js";
export type { ArchiveFormat, ArchiveImage, ArchiveSource } from "./write.js";
export { writeTree } from "./write-tree.js";
