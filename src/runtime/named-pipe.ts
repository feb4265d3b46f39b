import { closeSync, constants, openSync, rmSync } from "node:fs";
import { fsPath } from "../fs/index.js";
import { treeSyscalls } from "./tree-syscalls.js";

/** A pipe that can be opened again by a name, which others may link elsewhere. */
export interface NamedPipe {
  readonly readEnd: number;
  readonly writeEnd: number;
  /** A byte string. */
  readonly path: string;
  /** Closes both ends and removes the name. */
  close(): void;
}

/** Makes a pipe at a path (a byte string) where there is nothing yet. */
export function makeNamedPipe(path: string): NamedPipe {
  treeSyscalls().makeNode(path, "fifo", 0o600, { major: 0, minor: 0 });
  // Without waiting for somebody to write; then there is a reader for the other end.
  const readEnd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK);
  const writeEnd = openSync(fsPath(path), constants.O_WRONLY);
  return {
    readEnd,
    writeEnd,
    path,
    close: () => {
      closeSync(readEnd);
      closeSync(writeEnd);
      rmSync(fsPath(path), { force: true });
    },
  };
}
