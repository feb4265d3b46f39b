/**
 * registry/ owns the conversation with image registries: what a name may mean (registries.conf), whom to believe
 * (certificates), who we are (auth files, credential helpers, tokens), pulling from and pushing to.
 *
 * Invariants: bytes are believed by their digest and size, never by a header. Credentials go to the registry that they
 * were stored for and to the token server it names, never across a redirect, never to a mirror on another host. Plain
 * HTTP is spoken only after --tls-verify=false or `insecure = true` for that host, or to a literal loopback address
 * that does not speak TLS. A manifest is sent after all its blobs were seen.
 * No secret stands in an error, an event or an argument of a process.
 *
 * It refuses to fetch foreign layer URLs, to follow a registry to addresses further inside than its own, and to know
 * the store: blobs come from a BlobSource and go into a BlobSink.
 */
export { openRegistry } from "./registry.js";
export type { OpenRegistryOptions } from "./registry.js";
export type { FoundImage, PushImage, Registry, RegistryOptions } from "./types.js";
