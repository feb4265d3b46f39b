import type { RunSettings } from "../builder/index.js";
import type { IsolationOptions } from "../cooper.js";
import { DEFAULT_LIMITS, DEFAULT_SECURITY } from "../runtime/index.js";

/** What the processes of a build or container may do and use, every default filled in. Throws `usage`. */
export function runSettings(_options: IsolationOptions): RunSettings {
  return { security: DEFAULT_SECURITY, limits: DEFAULT_LIMITS, devices: [] };
}
