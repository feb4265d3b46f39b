import { release } from "node:os";
import { compileSeccompProfile } from "./seccomp-compile.js";
import { parseSeccompProfile } from "./seccomp-profile.js";
import type { HelperPlan } from "./helper-plan.js";
import type { SandboxSecurity } from "./types.js";

type Filter = HelperPlan["filter"];

let last: { readonly key: string; readonly filter: Filter } | undefined;

/** The filter that a process gets. Throws `usage` and `unsupported` for a profile that cannot be one. */
export function filterOf({ seccomp, capabilities }: SandboxSecurity): Filter {
  if (seccomp.kind !== "profile") return { kind: seccomp.kind === "default" ? "default" : "none" };
  const key = JSON.stringify([seccomp.profile, capabilities]);
  if (last?.key !== key) {
    const profile = parseSeccompProfile(seccomp.profile, seccomp.path);
    const program = compileSeccompProfile(profile, { capabilities, arch: process.arch, kernel: release() });
    last = { key, filter: { kind: "given", program: program.toString("base64"), flags: profile.flags } };
  }
  return last.filter;
}
