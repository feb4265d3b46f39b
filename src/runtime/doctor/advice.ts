import { userNamespaceRefusal } from "../probe.js";
import type { Refused } from "./check.js";
import type { OwnRights } from "./facts.js";

const PRIVILEGED =
  "GitLab Runner: `privileged = true` in [runners.docker] or [runners.kubernetes] of config.toml; Kubernetes: `securityContext: { privileged: true }`; docker and podman: --privileged";

const UNFILTERED =
  'GitLab Runner: `security_opt = ["seccomp:unconfined", "apparmor:unconfined"]` in [runners.docker] of config.toml; Kubernetes: `securityContext: { seccompProfile: { type: Unconfined }, appArmorProfile: { type: Unconfined } }`; docker and podman: --security-opt seccomp=unconfined --security-opt apparmor=unconfined';

/** Beside docker's own: to make namespaces and mount, to bring a network up, to read what a sealed process writes. */
export const NEEDED_CAPABILITIES = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE"];
const NEEDED_LIST = NEEDED_CAPABILITIES.map((name) => `"${name.replace("CAP_", "")}"`).join(", ");

export const CAPABILITY_ADVICE = `GitLab Runner: \`cap_add = [${NEEDED_LIST}]\` in [runners.docker] of config.toml; Kubernetes: \`securityContext: { capabilities: { add: [${NEEDED_LIST}] } }\`; docker and podman: --cap-add for each of them`;

const WITHOUT_PRIVILEGED = `or without it GitLab Runner: \`cap_add = [${NEEDED_LIST}]\` with \`security_opt = ["seccomp:unconfined", "apparmor:unconfined"]\``;

/** What lets this process make namespaces and mount, when the kernel refused it. `kind`: as in user.max_KIND_namespaces. */
export function namespaceAdvice(
  { call, errno }: Refused,
  rights: OwnRights,
  kind: string,
): string | undefined {
  if (errno === "ENOENT" && call === "unshare") return "install the Debian package util-linux";
  if (errno === "ENOSPC") return `sysctl user.max_${kind}_namespaces=28633`;
  if (errno === "EINVAL" || errno === "ENOSYS") return "this kernel lacks it: another kernel is needed";
  return rights.isRoot && kind !== "user" ? rootAdvice(rights) : userNamespaceAdvice(rights);
}

/** For root that is refused what root may do. */
export function rootAdvice({ capabilities, inUserNamespace }: OwnRights): string {
  const hasAll = NEEDED_CAPABILITIES.every((name) => capabilities.includes(name));
  // In a user namespace the kernel mounts no /proc where a container hides parts of its own.
  if (!hasAll || inUserNamespace) return `${PRIVILEGED}; ${WITHOUT_PRIVILEGED}`;
  // Something beside the capabilities refuses: a filter of system calls, or a profile.
  return `${UNFILTERED}; or all at once: ${PRIVILEGED}`;
}

function userNamespaceAdvice(rights: OwnRights): string {
  const hint = userNamespaceRefusal()?.hint;
  if (hint !== undefined) return hint;
  return rights.seccomp === "0" && rights.isRoot
    ? PRIVILEGED
    : `${UNFILTERED}; or all at once: ${PRIVILEGED}`;
}

const TUN_MISSING =
  'GitLab Runner: `devices = ["/dev/net/tun"]` in [runners.docker] of config.toml; Kubernetes: `securityContext: { privileged: true }` with a hostPath volume of /dev/net/tun; docker and podman: --device /dev/net/tun; on a machine of your own: modprobe tun';

/** Why /dev/net/tun cannot be opened: by its mode, by a container's rules, or it is not there. */
export function tunAdvice(errno: string): string {
  return errno === "EACCES" ? "chmod 0666 /dev/net/tun, as udev sets it, on the machine itself" : TUN_MISSING;
}

/** Where the store's file system may not carry an overlay. */
export const STORE_ADVICE =
  'put the store on another file system with --root or COOPER_ROOT: GitLab Runner: `volumes = ["/var/lib/cooper"]` in [runners.docker] of config.toml; Kubernetes: an emptyDir volume';

export const CGROUP_ROOT_ADVICE = `cooper must be able to write its own cgroup: ${PRIVILEGED}`;
export const CGROUP_USER_ADVICE =
  "let systemd delegate one: systemd-run --user --scope -p Delegate=yes cooper …; or build as root";
