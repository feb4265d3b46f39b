import type { SandboxDevice, SandboxLimits, SandboxSecurity } from "../runtime/index.js";

/** What every RUN of a build gets, whatever its own flags say; a container of `cooper run` gets the same. */
export interface RunSettings {
  readonly security: SandboxSecurity;
  readonly limits: SandboxLimits;
  readonly devices: readonly SandboxDevice[];
}
