/** How a sandbox is made. `native`: by cooper itself; `oci`: by an OCI runtime; `chroot`: where nothing may be mounted. */
export type DriverName = "native" | "oci" | "chroot";

/** What a Containerfile or an option may ask for that not every driver has. `what`: its own word for it, for the message. */
export interface Need {
  readonly kind:
    | "network-none"
    | "insecure"
    | "tmpfs-size"
    | "limit"
    | "shm-size"
    | "userns"
    | "device"
    | "seccomp"
    | "capability"
    | "volume-rw"
    | "terminal";
  /** As the user wrote it: `--memory 1g`, `--network=none`, `CAP_SYS_CHROOT`. */
  readonly what: string;
}

/** What is known of a driver before anything is started. */
export interface DriverTraits {
  /** What the root file system of a process must be: see SandboxRootfs. */
  readonly rootfs: "overlay" | "directory";
  /** Why this driver cannot do it, as one clause ("--memory 1g needs cgroups, …"); undefined when it can. */
  refuses(need: Need): string | undefined;
  /** What every user of this driver has to know, once; undefined where a process is apart from everything else. */
  readonly shares: string | undefined;
}

const CHROOT_SHARES =
  "nothing may be mounted here, so steps run by chroot: they share processes, network, host name and kernel files with " +
  "everything else in this container, and find /proc and /sys empty";

export function traitsOf(driver: DriverName): DriverTraits {
  return driver === "chroot"
    ? { rootfs: "directory", refuses: chrootRefusal, shares: CHROOT_SHARES }
    : { rootfs: "overlay", refuses: driver === "oci" ? ociRefusal : () => undefined, shares: undefined };
}

/** A runtime would have to be root in the user namespace to enter it, and then may not prepare what it starts. */
function ociRefusal({ kind, what }: Need): string | undefined {
  return kind === "userns" ? `${what} needs isolation "native"` : undefined;
}

const CHROOT_LACKS: Readonly<Partial<Record<Need["kind"], string>>> = {
  "network-none": "needs a network namespace",
  insecure: "needs the right to mount",
  "tmpfs-size": "needs the right to mount",
  "shm-size": "needs the right to mount",
  limit: "needs cgroups",
  userns: "needs the right to make user namespaces",
  device: "needs the right to mount",
  seccomp: "needs CAP_SYS_ADMIN",
  capability: "would let a process leave its root directory",
  "volume-rw": "needs the right to mount (add :ro, and the process gets a copy)",
  terminal: "needs a terminal of its own, which needs the right to mount",
};

/** Capabilities beside CAP_SYS_CHROOT are cut to those that cooper itself has; limits of setrlimit(2) do not need cgroups. */
function chrootRefusal({ kind, what }: Need): string | undefined {
  if (kind === "capability" && what !== "CAP_SYS_CHROOT") return undefined;
  const reason = CHROOT_LACKS[kind];
  return reason === undefined ? undefined : `${what} ${reason}`;
}
