import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { copyModules } from "./installed.js";

/** What docker gives a container. Source: moby, daemon/pkg/oci/caps/defaults.go. */
const CAPABILITIES =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    .split(" ")
    .map((name) => `CAP_${name}`);

/** The calls that moby's profile opens only to CAP_SYS_ADMIN and its like; podman's leaves them to the capabilities. */
const GATED = new Set(
  (
    "mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick pivot_root unshare setns " +
    "clone clone3 sethostname setdomainname bpf perf_event_open quotactl lookup_dcookie syslog fanotify_init"
  ).split(" "),
);
/** CLONE_NEWCGROUP and all the other namespaces, as in moby's profile. */
const NAMESPACE_FLAGS = 0x7e020000;

interface ProfileRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly args?: readonly unknown[] | null;
  readonly includes?: { readonly arches?: readonly string[]; readonly caps?: readonly string[] };
}

/** The machine's profile of podman, closed where moby's is: no mounts and no namespaces. */
function lockedProfile(): object {
  const file = "/usr/share/containers/seccomp.json";
  const { syscalls } = JSON.parse(readFileSync(file, "utf8")) as {
    readonly syscalls: readonly ProfileRule[];
  };
  const allowed = syscalls
    .filter(({ action, args, includes = {} }) => {
      const { arches = [], caps = [] } = includes;
      return (
        action === "SCMP_ACT_ALLOW" &&
        (args ?? []).length === 0 &&
        arches.length === 0 &&
        caps.every((cap) => CAPABILITIES.includes(cap))
      );
    })
    .flatMap(({ names }) => names)
    .filter((name) => !GATED.has(name));
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: process.arch === "x64" ? ["SCMP_ARCH_X86_64"] : ["SCMP_ARCH_AARCH64"],
    syscalls: [
      {
        names: [...new Set([...allowed, ...(process.arch === "x64" ? ["arch_prctl"] : []), "personality"])],
        action: "SCMP_ACT_ALLOW",
      },
      {
        names: ["clone"],
        action: "SCMP_ACT_ALLOW",
        args: [{ index: 0, value: NAMESPACE_FLAGS, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
      },
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: 38 },
    ],
  };
}

const tmpfs = (destination: string, ...options: readonly string[]): object => ({
  destination,
  type: "tmpfs",
  source: "tmpfs",
  options: ["nosuid", ...options],
});

const device = (major: number, minor: number): object => ({
  allow: true,
  type: "c",
  major,
  minor,
  access: "rwm",
});

/** As `docker run --network host` with nothing more: docker's rights, devices, masked and read-only paths. */
function bundleConfig(rootfs: string, args: readonly string[]): object {
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
      cwd: "/",
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
    },
    root: { path: rootfs },
    hostname: "job",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      tmpfs("/dev", "mode=755"),
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      tmpfs("/dev/shm", "noexec", "nodev", "mode=1777"),
      { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
      ...["resolv.conf", "hosts"].map((name) => ({
        destination: `/etc/${name}`,
        type: "bind",
        source: realpathSync(`/etc/${name}`),
        options: ["bind", "ro"],
      })),
    ],
    linux: {
      namespaces: ["pid", "ipc", "uts", "mount"].map((type) => ({ type })),
      seccomp: lockedProfile(),
      resources: {
        devices: [
          { allow: false, access: "rwm" },
          ...["c", "b"].map((type) => ({ allow: true, type, access: "m" })),
          ...[3, 5, 7, 8, 9].map((minor) => device(1, minor)),
          device(5, 0),
        ],
      },
      maskedPaths: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

/** A CI job's container: a Debian with Node and cooper in it, on an overlay, that may neither mount nor unshare. */
export interface LockedDown {
  /** The container's root file system before any job; each job begins with what the one before it left. */
  readonly lower: string;
  /** The command that runs a shell script as a job. */
  command(script: string): readonly [string, ...string[]];
}

/** As a job's container on an overlay of its own, in a mount namespace that goes with it. Arguments: directory, name. */
const JOB = `set -e
cd "$1"
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root
umount /sys/fs/cgroup/unified 2>/dev/null || true
exec runc --root "$1/runc" run --bundle "$1/bundle" "$2"`;

/** Makes it in an existing directory, of the tar of a Debian root file system and the bundles in `dist`. */
export function makeLockedDown(dir: string, debianTar: string, dist: string): LockedDown {
  const lower = join(dir, "lower");
  for (const name of ["lower", "upper", "work", "root", "bundle", "runc"]) mkdirSync(join(dir, name));
  execFileSync("tar", ["-C", lower, "--numeric-owner", "-xpf", debianTar, "--exclude=./dev/*"]);
  const node = process.execPath;
  const libraries = execFileSync("ldd", [node], { encoding: "utf8" }).match(/\/[^ ]+/g) ?? [];
  copyInto(lower, node, "/usr/local/bin/node");
  for (const library of libraries) if (!existsSync(join(lower, library))) copyInto(lower, library, library);
  cpSync(dist, join(lower, "opt/cooper/dist"), { recursive: true });
  copyModules(join(lower, "opt/cooper"));
  let jobs = 0;
  return {
    lower,
    command(script) {
      jobs += 1;
      const config = bundleConfig(join(dir, "root"), ["sh", "-ec", script]);
      writeFileSync(join(dir, "bundle/config.json"), JSON.stringify(config));
      return [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        JOB,
        "sh",
        dir,
        `cooper-job-${process.pid}-${jobs}`,
      ];
    },
  };
}

function copyInto(root: string, from: string, to: string): void {
  mkdirSync(join(root, dirname(to)), { recursive: true });
  cpSync(realpathSync(from), join(root, to));
}
