import { closeSync, fchmodSync, fchownSync, fstatSync, openSync, writeSync } from "node:fs";
import { givenDevice } from "./devices.js";
import type { HelperMount, HelperPlan } from "./helper-plan.js";
import type { IdMapping } from "./id-mapping.js";
import { mountOverlay } from "./overlay.js";
import { codeOf, doing } from "./refusal.js";
import { keepTimes, missingIn, openInRoot, rememberStubs } from "./root-walk.js";
import type { Traces } from "./root-walk.js";
import {
  AT_FDCWD,
  MOUNT,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  attachMount,
  cString,
  cloneMount,
  close,
  mapOwners,
  newMount,
  openAt,
  restrictMount,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";
import type { MountOption } from "./types.js";

/** What is mounted after the plan's mounts, and never by them. */
export const SYSTEM = ["proc", "sys", "dev"] as const;
const NETWORK_FILES = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];

/** Told the resolved names of what is about to be made to mount on. */
type Note = (names: readonly string[]) => void;

/**
 * Mounts what the plan says, in its order, inside a root file system that is mounted already. Returns what had to be
 * made for it in the upper directory. The current directory must be the plan's mount point: a tmpfs that nobody else sees.
 */
export function attachUserMounts(rootFd: number, plan: HelperPlan, mapping: IdMapping | undefined): Traces {
  const upperFd = openAt(AT_FDCWD, plan.upperDir, O_PATH | O_DIRECTORY);
  const fresh: (readonly string[])[] = [];
  const times = keepTimes(rootFd);
  const note: Note = (names) => {
    times.before(names.slice(0, -1));
    fresh.push(...missingIn(upperFd, [names]));
  };
  for (const name of SYSTEM) makeSystemDirectory(rootFd, name, note);
  for (const [index, entry] of plan.mounts.entries())
    attach(rootFd, entry.target, detached({ entry, index, plan, mapping }), note);
  for (const device of plan.devices.filter(({ target }) => !target.startsWith("/dev/")))
    doing(`show the device ${device.target}`, () => attach(rootFd, device.target, givenDevice(device), note));
  const traces = {
    stubs: fresh.length === 0 ? [] : rememberStubs(upperFd, fresh),
    times: times.after(upperFd),
  };
  close(upperFd);
  return traces;
}

/** Only needed when the stack is so high that there was no room for the stub layers. */
function makeSystemDirectory(rootFd: number, name: string, note: Note): void {
  const found = trySyscall("openat", rootFd, cString(name), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (found >= 0) return close(found);
  note([name]);
  syscall("mkdirat", `/${name}`, rootFd, cString(name), 0o755);
}

/** A mount with its place in the plan. */
interface Planned {
  readonly entry: HelperMount;
  readonly index: number;
  readonly plan: HelperPlan;
  readonly mapping: IdMapping | undefined;
}

function attach(rootFd: number, place: string, source: number, note: Note): void {
  const kind = fstatSync(source).isDirectory() ? "directory" : "file";
  const before = (names: readonly string[]): void => {
    refuseSystemPlace(place, names);
    note(names);
  };
  try {
    const target = openInRoot(rootFd, place, { kind, before });
    if (target === undefined) throw syscallError("ENOENT", "openat", place);
    refuseSystemPlace(place, target.names);
    attachMount(source, target.fd, place);
    close(target.fd);
  } catch (error) {
    // An image may point its resolv.conf at /dev/null and the like: then it is not ours to fill.
    if (!(NETWORK_FILES.includes(place) && codeOf(error) === "EINVAL")) throw error;
  }
  close(source);
}

/** A link in the image may have led the target to the root itself, or to where the kernel's own files will be (hazard C10). */
function refuseSystemPlace(target: string, names: readonly string[]): void {
  const [first] = names;
  if (first === undefined || SYSTEM.some((name) => name === first))
    throw syscallError("EINVAL", "move_mount", target);
}

const OPTIONS: Readonly<Record<MountOption, number>> = {
  nosuid: MOUNT.noSuid,
  nodev: MOUNT.noDev,
  noexec: MOUNT.noExec,
};

/** The mount, not yet anywhere. What it shows is found by descriptors, never by a path that somebody could change meanwhile. */
function detached(planned: Planned): number {
  const { entry, mapping } = planned;
  const asked = (entry.options ?? []).reduce((sum, option) => sum | OPTIONS[option], 0);
  switch (entry.type) {
    case "tmpfs": {
      const size = entry.sizeBytes === undefined ? {} : { size: String(entry.sizeBytes) };
      const mode = { mode: (entry.mode ?? 0o1777).toString(8) };
      const readOnly = entry.readOnly === true ? MOUNT.readOnly : 0;
      return newMount("tmpfs", { ...mode, ...size }, MOUNT.noSuid | MOUNT.noDev | readOnly | asked);
    }
    case "bind": {
      const source = entry.inside === undefined ? wholeOf(entry.source) : partOf(entry.source, entry.inside);
      if (mapping !== undefined && entry.foreign !== true)
        doing("map the owners of a mount", () => mapOwners(source, mapping.fd, entry.source));
      const noExec = NETWORK_FILES.includes(entry.target) ? MOUNT.noExec : 0;
      const file = fstatSync(source).isDirectory() ? 0 : MOUNT.noSuid | noExec;
      restrictMount(source, MOUNT.noDev | file | asked | (entry.readOnly ? MOUNT.readOnly : 0));
      return source;
    }
    case "layers": {
      const source = layers(planned, entry);
      restrictMount(source, MOUNT.noDev | asked | (entry.readOnly ? MOUNT.readOnly : 0));
      return source;
    }
    case "secret": {
      const source = secret(planned, entry);
      const closed = MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec;
      restrictMount(source, closed | (entry.readOnly ? MOUNT.readOnly : 0));
      return source;
    }
  }
}

function wholeOf(path: string): number {
  return cloneMount(AT_FDCWD, path);
}

function partOf(path: string, inside: string): number {
  const root = openAt(AT_FDCWD, path, O_PATH);
  try {
    return cloneInside(root, inside);
  } finally {
    close(root);
  }
}

/** A copy of the mount at exactly what was found there (hazards C01, C04, C05). */
function cloneInside(rootFd: number, inside: string): number {
  return doing("find the source of a mount", () => {
    const found = openInRoot(rootFd, inside);
    if (found === undefined) throw syscallError("ENOENT", "openat", inside);
    try {
      return cloneMount(found.fd, "");
    } finally {
      close(found.fd);
    }
  });
}

type EntryOf<T extends HelperMount["type"]> = Extract<HelperMount, { readonly type: T }>;

function layers({ index, plan, mapping }: Planned, entry: EntryOf<"layers">): number {
  const { rootfs, inside } = entry;
  if (rootfs.kind === "directory") return partOf(rootfs.dir, inside);
  const owners = entry.foreign === true ? undefined : mapping;
  const root = doing("mount the source of a mount", () =>
    mountOverlay({ ...rootfs, place: `L${index}`, userNamespace: plan.userNamespace, mapping: owners }),
  );
  const rootFd = openAt(AT_FDCWD, root, O_PATH | O_DIRECTORY);
  try {
    return cloneInside(rootFd, inside);
  } finally {
    close(rootFd);
  }
}

/** A file in the tmpfs of the mount point; nobody can reach anything but that file through the mount of it. */
function secret({ index, mapping }: Planned, { base64, mode, uid, gid }: EntryOf<"secret">): number {
  const name = `S${index}`;
  const bytes = Buffer.from(base64, "base64");
  const fd = openSync(name, "wx", 0o600);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    doing(`give a secret to ${uid}:${gid}`, () =>
      fchownSync(fd, uid + (mapping?.uid ?? 0), gid + (mapping?.gid ?? 0)),
    );
    fchmodSync(fd, mode);
  } finally {
    closeSync(fd);
  }
  return cloneMount(AT_FDCWD, name);
}
