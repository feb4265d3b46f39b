import { release } from "node:os";
import { NEW_NAMESPACES } from "./seccomp.js";
import { isInForce } from "./seccomp-compile.js";
import { parseSeccompProfile } from "./seccomp-profile.js";
import type { SeccompProfile } from "./seccomp-profile.js";
import { callTables } from "./seccomp-table.js";
import { systemCalls } from "./system-calls.js";
import type { SandboxSecurity } from "./types.js";

/** A comparison of the first argument: with these bits taken from it, it is this. */
interface Masked {
  readonly index: 0;
  readonly value: number;
  readonly valueTwo: number;
  readonly op: "SCMP_CMP_MASKED_EQ";
}

interface Rule {
  readonly names: readonly string[];
  readonly action: "SCMP_ACT_ERRNO";
  readonly errnoRet: number;
  readonly args?: readonly Masked[];
}

/** `linux.seccomp` of a runtime's config.json. */
export interface SeccompSpec {
  readonly defaultAction: "SCMP_ACT_ALLOW";
  readonly architectures: readonly string[];
  readonly syscalls: readonly Rule[];
}

const EPERM = 1;
const ENOSYS = 38;

/** Names of the calls of an architecture (`AUDIT_ARCH_*`). */
const NAMES: Readonly<Record<number, "x64" | "arm64" | "i386">> = {
  0xc000003e: "x64",
  0xc00000b7: "arm64",
  0x40000003: "i386",
};

/** `linux.seccomp` as JSON; "" for none. Throws `usage` and `unsupported` for a profile that cannot be one. */
export function seccompJson({ seccomp, capabilities }: SandboxSecurity): string {
  if (seccomp.kind !== "profile")
    return seccomp.kind === "default" ? JSON.stringify(seccompSpec(capabilities)) : "";
  return profileJson(parseSeccompProfile(seccomp.profile, seccomp.path), seccomp.profile, capabilities);
}

/** As a user's profile is written, without what does not hold here: a runtime knows no conditions. */
function profileJson(profile: SeccompProfile, text: string, capabilities: readonly string[]): string {
  const at = { capabilities, arch: process.arch, kernel: release() };
  const given = JSON.parse(text) as GivenProfile;
  const native = process.arch === "arm64" ? "SCMP_ARCH_AARCH64" : "SCMP_ARCH_X86_64";
  const others = profile.architectures.filter((entry) => (entry.native ?? native) === native);
  const { defaultAction, defaultErrnoRet, flags } = given;
  return JSON.stringify({
    defaultAction,
    defaultErrnoRet,
    flags,
    architectures: [...new Set([native, ...others.flatMap((entry) => entry.others)])],
    syscalls: (given.syscalls ?? []).flatMap(({ name, names = [], action, errnoRet, args }, index) => {
      const rule = profile.rules[index];
      if (rule === undefined || !isInForce(rule, at)) return [];
      return [{ names: name === undefined ? names : [name, ...names], action, errnoRet, args: args ?? [] }];
    }),
  });
}

interface GivenProfile {
  readonly defaultAction?: string;
  readonly defaultErrnoRet?: number;
  readonly flags?: readonly string[];
  readonly syscalls?: readonly {
    readonly name?: string;
    readonly names?: readonly string[];
    readonly action?: string;
    readonly errnoRet?: number;
    readonly args?: readonly object[] | null;
  }[];
}

/**
 * Our filter in the words of the OCI runtime specification. Those know calls by name, and so none that is newer than the
 * runtime's library; they cannot look into socketcall(2), where every family of sockets hides; and another kind of program
 * is killed, not refused. For all that `underlyingFilter` of seccomp.ts must be in force beneath it.
 */
export function seccompSpec(capabilities: readonly string[], arch: string = process.arch): SeccompSpec {
  const closed = callTables(arch).flatMap((table) => {
    const names = new Map(
      [...systemCalls(NAMES[table.audit] ?? "x64")].map(([name, number]) => [number, name]),
    );
    return Object.entries(table.closed)
      .filter(([capability]) => !capabilities.includes(capability))
      .flatMap(([, numbers]) => numbers.map((number) => names.get(number) ?? ""));
  });
  return {
    defaultAction: "SCMP_ACT_ALLOW",
    architectures:
      arch === "arm64" ? ["SCMP_ARCH_AARCH64"] : ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    syscalls: [
      { names: [...new Set(closed)].filter(Boolean).toSorted(), action: "SCMP_ACT_ERRNO", errnoRet: EPERM },
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
      ...(capabilities.includes("CAP_SYS_ADMIN") ? [] : namespaceFlags().map(withoutFlag)),
    ],
  };
}

/** There is no "any of these bits": each flag has a rule of its own. */
function namespaceFlags(): readonly number[] {
  return Array.from({ length: 31 }, (_, bit) => 2 ** bit).filter((flag) => (NEW_NAMESPACES & flag) !== 0);
}

function withoutFlag(flag: number): Rule {
  const args = [{ index: 0, value: flag, valueTwo: flag, op: "SCMP_CMP_MASKED_EQ" }] as const;
  return { names: ["clone"], action: "SCMP_ACT_ERRNO", errnoRet: EPERM, args };
}
