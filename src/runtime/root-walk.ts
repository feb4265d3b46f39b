import { fstatSync } from "node:fs";
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  cBytes,
  close,
  syscall,
  syscallError,
  trySyscall,
} from "./syscalls.js";

/** As many links as Linux itself follows. */
const MAX_LINKS = 40;
const S_IFREG = 0o100000;

/** What a walk does when a component is missing. */
export interface Creation {
  /** What the last component becomes; those before it become directories (0755, owned by root). */
  readonly kind: "directory" | "file";
  /** Told before each creation, with the resolved names from the root down. */
  readonly before: (names: readonly string[]) => void;
}

/** A path handle (O_PATH) and where it was found, both inside the root. */
export interface Found {
  readonly fd: number;
  /** Byte strings, links and ".." resolved; empty for the root itself. */
  readonly names: readonly string[];
}

/**
 * Opens a path inside a root one name at a time, by descriptors that never follow a link: links are read and walked
 * from the root, ".." takes the descriptor we came by. No race and no link can lead out (hazards C06, C09, C10).
 * Undefined when it does not exist and nothing is to be created; throws on anything else. The caller closes.
 */
export function openInRoot(rootFd: number, path: string, create?: Creation): Found | undefined {
  const pending = namesOf(Buffer.from(path, "utf8").toString("latin1"));
  const opened: { readonly name: string; readonly fd: number }[] = [];
  let links = 0;
  try {
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "..") {
        close(opened.pop()?.fd ?? -1);
        continue;
      }
      const parent = opened.at(-1)?.fd ?? rootFd;
      const fd = openOrMake(
        parent,
        name,
        [...opened.map((entry) => entry.name), name],
        pending.length === 0,
        create,
      );
      if (fd === undefined) return undefined;
      if (!fstatSync(fd).isSymbolicLink()) {
        opened.push({ name, fd });
        continue;
      }
      const target = readLink(fd);
      close(fd);
      if ((links += 1) > MAX_LINKS) throw syscallError("ELOOP", "openat", path);
      if (target.startsWith("/")) for (const entry of opened.splice(0)) close(entry.fd);
      pending.push(...namesOf(target));
    }
    const last = opened.pop();
    const names = [...opened.map((entry) => entry.name), ...(last === undefined ? [] : [last.name])];
    return { fd: last?.fd ?? syscall("openat", path, rootFd, cBytes("."), O_PATH | O_CLOEXEC, 0), names };
  } finally {
    for (const entry of opened) close(entry.fd);
  }
}

/** The names of a path, the first to walk last. */
function namesOf(path: string): string[] {
  return path
    .split("/")
    .filter((name) => name !== "" && name !== ".")
    .toReversed();
}

function openOrMake(
  parent: number,
  name: string,
  names: readonly string[],
  last: boolean,
  create: Creation | undefined,
): number | undefined {
  const flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  const found = trySyscall("openat", parent, cBytes(name), flags, 0);
  if (found >= 0) return found;
  if (found !== -2 /* ENOENT */) return syscall("openat", names.join("/"), parent, cBytes(name), flags, 0);
  if (create === undefined) return undefined;
  create.before(names);
  if (last && create.kind === "file")
    syscall("mknodat", names.join("/"), parent, cBytes(name), S_IFREG | 0o644, 0);
  else syscall("mkdirat", names.join("/"), parent, cBytes(name), 0o755);
  return syscall("openat", names.join("/"), parent, cBytes(name), flags, 0);
}

function readLink(fd: number): string {
  const target = Buffer.alloc(4096);
  const length = syscall("readlinkat", undefined, fd, cBytes(""), target, target.length);
  return target.toString("latin1", 0, length);
}

/** A directory or empty file that we had to make in the upper directory, or one that the kernel copied up for it. */
export interface Stub {
  readonly names: readonly string[];
  readonly inode: string;
  readonly changed: string;
}

/** Looks at what stands at these names below a directory, never through a link; undefined when it is not there. */
function look(
  dirFd: number,
  names: readonly string[],
): { stub: Stub; directory: boolean; size: bigint } | undefined {
  const fd = openExactly(dirFd, names, O_PATH);
  if (fd === undefined) return undefined;
  try {
    const { ino, ctimeNs, size, mode } = fstatSync(fd, { bigint: true });
    const stub = { names, inode: String(ino), changed: String(ctimeNs) };
    return { stub, size, directory: (mode & 0o170000n) === 0o040000n };
  } finally {
    close(fd);
  }
}

function openExactly(dirFd: number, names: readonly string[], flags: number): number | undefined {
  let fd = syscall("openat", undefined, dirFd, cBytes("."), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  for (const [index, name] of names.entries()) {
    const last = index === names.length - 1;
    const next = trySyscall(
      "openat",
      fd,
      cBytes(name),
      O_NOFOLLOW | O_CLOEXEC | (last ? flags : O_PATH | O_DIRECTORY),
      0,
    );
    close(fd);
    if (next < 0) return undefined;
    fd = next;
  }
  return fd;
}

/** The names from the root down to each of `paths` that are not yet in the upper directory. */
export function missingIn(
  upperFd: number,
  paths: readonly (readonly string[])[],
): readonly (readonly string[])[] {
  const prefixes = new Map<string, readonly string[]>();
  for (const names of paths) {
    for (let depth = 1; depth <= names.length; depth += 1) {
      const prefix = names.slice(0, depth);
      if (look(upperFd, prefix) === undefined) prefixes.set(prefix.join("/"), prefix);
    }
  }
  return [...prefixes.values()];
}

/** Remembers what now stands at these names, so that `removeStubs` can tell whether somebody else touched it. */
export function rememberStubs(upperFd: number, paths: readonly (readonly string[])[]): readonly Stub[] {
  return paths.flatMap((names) => look(upperFd, names)?.stub ?? []);
}

/** What mounting left in the upper directory. */
export interface Traces {
  readonly stubs: readonly Stub[];
  readonly times: readonly KeptTime[];
}

/** The modification time that a directory had before something was made in it to mount on, and the one that this gave it. */
export interface KeptTime {
  readonly names: readonly string[];
  readonly before: string;
  readonly after: string;
}

/** Remembers times of directories of a root file system, `before` something is made in them and `after` all was made. */
export function keepTimes(rootFd: number): {
  readonly before: (names: readonly string[]) => void;
  readonly after: (upperFd: number) => readonly KeptTime[];
} {
  const known = new Map<string, { readonly names: readonly string[]; readonly before: string }>();
  return {
    before: (names) => {
      const before = timeOf(rootFd, names);
      if (before !== undefined && !known.has(names.join("/"))) known.set(names.join("/"), { names, before });
    },
    after: (upperFd) =>
      [...known.values()].flatMap(({ names, before }) => {
        const after = timeOf(upperFd, names);
        return after === undefined ? [] : [{ names, before, after }];
      }),
  };
}

function timeOf(dirFd: number, names: readonly string[]): string | undefined {
  const fd = openExactly(dirFd, names, O_PATH | O_DIRECTORY);
  if (fd === undefined) return undefined;
  try {
    return String(fstatSync(fd, { bigint: true }).mtimeNs);
  } finally {
    close(fd);
  }
}

/** Removes what mounting left, where the step did not touch it: its layer is as if nothing had been mounted (hazard S01). */
export function removeTraces(upperFd: number, { stubs, times }: Traces): void {
  const untouched = times.filter(({ names, after }) => timeOf(upperFd, names) === after);
  removeStubs(upperFd, stubs);
  for (const { names, before } of untouched) setTime(upperFd, names, BigInt(before));
}

function setTime(dirFd: number, names: readonly string[], ns: bigint): void {
  const fd = openExactly(dirFd, names, O_PATH | O_DIRECTORY);
  if (fd === undefined) return;
  const second = 1_000_000_000n;
  const part = ((ns % second) + second) % second;
  const omit = 0x3ffffffen; // UTIME_OMIT
  const spec = BigInt64Array.from([0n, omit, (ns - part) / second, part]);
  trySyscall("utimensat", fd, cBytes(""), new Uint8Array(spec.buffer), AT_EMPTY_PATH);
  close(fd);
}

/** Removes the stubs that are as we left them: the same inode, unchanged, empty. Anything else belongs to the step. */
function removeStubs(upperFd: number, stubs: readonly Stub[]): void {
  const untouched = stubs.filter(({ names, inode, changed }) => {
    const now = look(upperFd, names);
    return now?.stub.inode === inode && now.stub.changed === changed && (now.directory || now.size === 0n);
  });
  for (const { names } of untouched.toSorted((a, b) => b.names.length - a.names.length)) {
    const parent = openExactly(upperFd, names.slice(0, -1), O_PATH | O_DIRECTORY);
    if (parent === undefined) continue;
    const name = cBytes(names.at(-1) ?? "");
    if (trySyscall("unlinkat", parent, name, AT_REMOVEDIR) === -20 /* ENOTDIR */)
      trySyscall("unlinkat", parent, name, 0);
    close(parent);
  }
}
