/**
 * fs/ owns how we touch a file system safely: byte-exact paths, trees read without following links, writes that are
 * there whole or not at all, leases, temporary directories, removal of hostile trees.
 * It is the only code that renames into place, locks, or follows a link inside a root file system.
 */
export * from "./byte-path.js";
export * from "./clock.js";
export * from "./tree.js";
export * from "./tree-syscalls.js";
export * from "./layer-home.js";
export * from "./atomic-write.js";
export * from "./directories.js";
export * from "./lease.js";
export * from "./owner.js";
export * from "./remove.js";
export * from "./socket-path.js";
export * from "./temp.js";
export * from "./verified.js";
