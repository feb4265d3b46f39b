/**
 * fetch/ gets what lies outside the build context: files over http and https, and git repositories.
 *
 * - A body is believed when it is whole, and when it has a checksum only with that; nothing else is kept of it. Bodies
 *   that did not change are not sent again: they come from a cache, by their digest.
 * - Credentials in a URL go to the server that it names and to no other, and stand in no message, record or argument of
 *   a process. Redirects stay with http and https, do not leave https without a checksum, lead no further inside than
 *   the server that sent us, and are ten at most. No header of a server names a file.
 * - git is the host's. It sees none of the machine's configuration but how the user reaches servers (`credential.*`,
 *   `http.*`, ssh), runs no hook, filter or monitor, and speaks http, https, git and ssh only, for submodules too. What
 *   comes from a Containerfile never stands where git would take it for an option.
 *
 * It refuses to read local repositories, to ask for passwords, and to know what is done with what it brings.
 */
import type { FetcherOptions } from "./fetcher.js";
import type { Fetcher } from "./types.js";

export type * from "./types.js";
export type { FetcherOptions } from "./fetcher.js";
export { isRemoteUrl, parseGitSource } from "./git-source.js";
export { insideTree } from "./work-tree.js";

/** Loads what speaks to servers, and with it Node's net and tls; a build that fetches nothing goes without. */
export async function openFetcher(options: FetcherOptions): Promise<Fetcher> {
  const room = await import("./fetcher.js");
  return room.openFetcher(options);
}
