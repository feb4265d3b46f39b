/**
 * image/ owns what an image *is*: digests, descriptors, names, platforms, manifests and configs.
 * It is pure: no file, no network, no clock. Everything is an immutable record; a change makes a new one.
 * It refuses anything from outside that breaks its grammar, before a path or URL could be made of it.
 */
export * from "./blob.js";
export * from "./config.js";
export * from "./descriptor.js";
export * from "./digest.js";
export * from "./manifest.js";
export * from "./platform.js";
export * from "./reference.js";
export * from "./validate.js";
