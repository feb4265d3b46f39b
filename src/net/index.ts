/**
 * net/ is what every conversation with a server outside shares: which proxy leads there, which authorities are believed,
 * how far inside an address is, and what a failed connection means in plain words. Pure but for reading certificate
 * files; it opens no connection but the way through a proxy.
 */
export * from "./addresses.js";
export * from "./authorities.js";
export * from "./failure.js";
export * from "./hosts.js";
export * from "./proxy.js";
export { proxyAgent } from "./proxy-agent.js";
