import { existsSync } from "node:fs";
import type { CooperErrorOptions } from "../errors.js";
import { CooperError } from "../errors.js";

/**
 * Throws `unsupported` where labels mean something: none is changed here, and a process keeps cooper's own. Elsewhere there
 * is nothing to change. `what` asks for it: `volume "…"`, `RUN --mount`.
 */
export function refuseRelabelling(what: string, options: CooperErrorOptions): void {
  if (!existsSync("/sys/fs/selinux/enforce")) return;
  throw new CooperError("unsupported", `${what}: SELinux labels cannot be changed`, options);
}
