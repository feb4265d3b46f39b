import { closeSync, constants, openSync } from "node:fs";
import { basename, dirname } from "node:path";

/** The kernel's sockaddr_un has room for 108 bytes, the last of which ends the text. Source: unix(7). */
const LONGEST = 107;

/** A path by which this process, and no other, reaches a socket: short enough, however long its own path is. */
export interface SocketPath extends Disposable {
  readonly path: string;
}

/** Good until it is disposed. Its directory must exist. */
export function socketPath(path: string): SocketPath {
  if (Buffer.byteLength(path) <= LONGEST) return { path, [Symbol.dispose]: () => undefined };
  const fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  return { path: `/proc/self/fd/${fd}/${basename(path)}`, [Symbol.dispose]: () => closeSync(fd) };
}
