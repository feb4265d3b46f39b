/**
 * api/ is the public API made of the real workshops: it opens them for a store root, decides what this process can do
 * itself and what a child engine in a user namespace must do, and moves whole images between store, registry and archive.
 *
 * Invariants: opening does nothing; an image gets its name last; an unprivileged process tries without a namespace
 * first, so that a fully cached build never pays for one.
 *
 * It decides nothing about a build's meaning (builder/) and prints nothing.
 */
export { explainPaths, listContext } from "./context.js";
export { check } from "./check.js";
export { openCooper } from "./open.js";
export { serveEngine } from "./serve.js";
