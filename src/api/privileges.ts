import type { Workshop } from "./workshop.js";

/** Thrown where an unprivileged process meets work that needs a user namespace; never leaves api/. */
export class NeedsPrivileges extends Error {}

export function requirePrivileges(workshop: Workshop): void {
  if (!workshop.privileged) throw new NeedsPrivileges();
}
