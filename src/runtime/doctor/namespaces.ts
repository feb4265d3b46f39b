import { namespaceAdvice } from "./advice.js";
import { attempt } from "./attempt.js";
import type { Check } from "./check.js";
import type { OwnRights } from "./facts.js";

/** As unshare(1) is asked for each, and as the kernel's limit user.max_…_namespaces calls it. */
const KINDS = [
  { name: "mount", option: ["--mount"], limit: "mnt" },
  { name: "pid", option: ["--pid", "--fork", "--kill-child"], limit: "pid" },
  { name: "ipc", option: ["--ipc"], limit: "ipc" },
  { name: "uts", option: ["--uts"], limit: "uts" },
  { name: "net", option: ["--net"], limit: "net" },
  { name: "cgroup", option: ["--cgroup"], limit: "cgroup" },
] as const;

/** Makes one of each kind, in a process that ends at once. */
export function checkNamespaces(rights: OwnRights): Promise<readonly Check[]> {
  return Promise.all(KINDS.map((kind) => tryNamespace(kind, rights)));
}

/** Whether a user namespace can be made; root need not. */
export function checkUserNamespace(rights: OwnRights): Promise<Check> {
  return tryNamespace({ name: "user", option: ["--user", "--map-root-user"], limit: "user" }, rights);
}

async function tryNamespace(
  kind: { readonly name: string; readonly option: readonly string[]; readonly limit: string },
  rights: OwnRights,
): Promise<Check> {
  const base = { name: kind.name, group: "namespaces" } as const;
  const result = await attempt(["unshare", ...kind.option, "--", "true"]);
  if (result.ok) return { ...base, ok: true, found: "can be made" };
  const advice = result.timedOut ? undefined : namespaceAdvice(result.refused, rights, kind.limit);
  return {
    ...base,
    ok: result.timedOut ? "unknown" : false,
    ...result.refused,
    ...(advice === undefined ? {} : { advice }),
  };
}
