import { readFileSync } from "node:fs";
import { release, userInfo } from "node:os";
import { CAPABILITIES } from "../capabilities.js";
import { CAPABILITY_ADVICE, NEEDED_CAPABILITIES } from "./advice.js";
import type { Check } from "./check.js";

/** Those that decide about drivers. */
const TELLING = [
  "CAP_SYS_ADMIN",
  "CAP_SYS_CHROOT",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_MKNOD",
  "CAP_SETUID",
  "CAP_SETGID",
  "CAP_SETFCAP",
  "CAP_SETPCAP",
  "CAP_NET_ADMIN",
  "CAP_SYS_PTRACE",
];

/** What this process may do, as the kernel says. */
export interface OwnRights {
  readonly isRoot: boolean;
  readonly inUserNamespace: boolean;
  readonly capabilities: readonly string[];
  readonly seccomp: string;
  readonly noNewPrivileges: boolean;
}

export function readOwnRights(): OwnRights {
  const status = textOf("/proc/self/status");
  const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(status)?.[1] ?? "";
  const mask = BigInt(`0x${field("CapEff") || "0"}`);
  return {
    isRoot: process.geteuid?.() === 0,
    inUserNamespace: !/^\s*0\s+0\s+4294967295\s*$/.test(textOf("/proc/self/uid_map")),
    capabilities: CAPABILITIES.filter((_, bit) => ((mask >> BigInt(bit)) & 1n) === 1n),
    seccomp: field("Seccomp"),
    noNewPrivileges: field("NoNewPrivs") === "1",
  };
}

/** Kernel, user and rights. */
export function checkSystem(rights: OwnRights): readonly Check[] {
  const group = "system";
  return [
    { name: "kernel", group, ok: true, found: `Linux ${release()} ${process.arch}` },
    { name: "user", group, ok: true, found: userText(rights) },
    capabilityCheck(rights),
    seccompCheck(rights),
    noNewPrivilegesCheck(rights),
    confinementCheck(),
  ];
}

function userText({ inUserNamespace }: OwnRights): string {
  const uid = process.geteuid?.() ?? -1;
  let name = "";
  try {
    name = ` (${userInfo().username})`;
  } catch {
    // A user need not have a name.
  }
  return `uid ${uid}${name}${inUserNamespace ? ", in a user namespace" : ""}`;
}

function capabilityCheck({ isRoot, capabilities }: OwnRights): Check {
  const base = { name: "capabilities", group: "system" } as const;
  if (!isRoot) return { ...base, ok: true, found: listed(capabilities) };
  const lacking = CAPABILITIES.filter((name) => !capabilities.includes(name));
  if (lacking.length <= 3 && NEEDED_CAPABILITIES.every((name) => capabilities.includes(name)))
    return { ...base, ok: true, found: lacking.length === 0 ? "all" : `all but ${listed(lacking)}` };
  const found = listed(TELLING.filter((name) => capabilities.includes(name)));
  const missing = NEEDED_CAPABILITIES.filter((name) => !capabilities.includes(name));
  if (missing.length === 0) return { ...base, ok: true, found };
  return { ...base, ok: false, found: `${found}; without ${missing.join(", ")}`, advice: CAPABILITY_ADVICE };
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.map((name) => name.replace("CAP_", "")).join(" ");
}

function seccompCheck({ seccomp }: OwnRights): Check {
  const base = { name: "seccomp", group: "system" } as const;
  if (seccomp === "0") return { ...base, ok: true, found: "no system call is filtered" };
  const mode = seccomp === "2" ? "a filter is in force; what it refuses stands below" : `mode ${seccomp}`;
  return { ...base, ok: "unknown", found: mode };
}

function noNewPrivilegesCheck({ noNewPrivileges, isRoot }: OwnRights): Check {
  const base = { name: "no_new_privs", group: "system" } as const;
  if (!noNewPrivileges) return { ...base, ok: true, found: "off" };
  if (isRoot) return { ...base, ok: true, found: "on: in a RUN sudo and su give nobody more rights" };
  return {
    ...base,
    ok: false,
    found: "on: newuidmap and newgidmap have no rights",
    advice:
      "Kubernetes: `securityContext: { allowPrivilegeEscalation: true }`; docker, podman and GitLab Runner: leave `no-new-privileges` out of security_opt",
  };
}

function confinementCheck(): Check {
  const base = { name: "confinement", group: "system" } as const;
  const profile = textOf("/proc/self/attr/current").replaceAll("\0", "").trim();
  if (profile === "" || profile === "unconfined") return { ...base, ok: true, found: "none" };
  return { ...base, ok: "unknown", found: profile };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
