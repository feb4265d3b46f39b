import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { ioError } from "../../errors.js";
import type { World } from "../world.js";

/** Writes an id or digest for a script to read, without a line break, as podman does. Throws `io`. */
export function writeResult(file: string, text: string, world: World): void {
  const path = resolve(world.cwd, file);
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw ioError("write", path, error);
  }
}
