/**
 * fetch/ gets what lies outside the build context: files over http and https, and git repositories.
 */
export type * from "./types.js";
export { isRemoteUrl, parseGitSource } from "./git-source.js";
