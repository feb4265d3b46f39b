import { constants } from "node:os";

/**
 * What Node cannot ask the kernel for. This is the only file that knows `koffi`, and all it takes from it is libc's
 * `syscall(2)`: one binding costs a tenth of a millisecond where thirty would cost several, the raw call acts on the
 * calling thread alone (glibc's setresuid signals every thread), and glibc and musl need no difference.
 * Loaded at the first call, not at import.
 */

/** Numbers for x64 and arm64, in that order. */
const NUMBERS = {
  accept4: [288, 242],
  bind: [49, 200],
  capget: [125, 90],
  capset: [126, 91],
  chdir: [80, 49],
  chroot: [161, 51],
  clone: [56, 220],
  close: [3, 57],
  close_range: [436, 436],
  dup3: [292, 24],
  execve: [59, 221],
  exit_group: [231, 94],
  fchdir: [81, 50],
  fcntl: [72, 25],
  flock: [73, 32],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fsopen: [430, 430],
  fstatfs: [138, 44],
  getcwd: [79, 17],
  ioctl: [16, 29],
  keyctl: [250, 219],
  kill: [62, 129],
  lgetxattr: [192, 9],
  listen: [50, 201],
  llistxattr: [195, 12],
  lsetxattr: [189, 6],
  madvise: [28, 233],
  memfd_create: [319, 279],
  mkdirat: [258, 34],
  mknodat: [259, 33],
  mount: [165, 40],
  mount_setattr: [442, 442],
  move_mount: [429, 429],
  openat: [257, 56],
  openat2: [437, 437],
  open_tree: [428, 428],
  pidfd_getfd: [438, 438],
  pidfd_open: [434, 434],
  pipe2: [293, 59],
  pivot_root: [155, 41],
  ppoll: [271, 73],
  prctl: [157, 167],
  prlimit64: [302, 261],
  ptrace: [101, 117],
  readlinkat: [267, 78],
  recvmsg: [47, 212],
  rt_sigaction: [13, 134],
  rt_sigprocmask: [14, 135],
  seccomp: [317, 277],
  sendto: [44, 206],
  setfsgid: [123, 152],
  setfsuid: [122, 151],
  setgroups: [116, 159],
  sethostname: [170, 161],
  setns: [308, 268],
  setresgid: [119, 149],
  setresuid: [117, 147],
  setsid: [112, 157],
  symlinkat: [266, 36],
  socket: [41, 198],
  umount2: [166, 39],
  unlinkat: [263, 35],
  unshare: [272, 97],
  utimensat: [280, 88],
  wait4: [61, 260],
} as const satisfies Readonly<Record<string, readonly [x64: number, arm64: number]>>;

export type SyscallName = keyof typeof NUMBERS;

/** Numbers are passed as they are; a buffer as the address of its first byte, and it must outlive the call. */
export type SyscallArgument = number | bigint | Uint8Array | BigUint64Array | null;

interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: readonly string[]): RawSyscall };
  errno(): number;
  address(buffer: Uint8Array): bigint;
}

type Six = [
  SyscallArgument,
  SyscallArgument,
  SyscallArgument,
  SyscallArgument,
  SyscallArgument,
  SyscallArgument,
];
type RawSyscall = (number: number, ...args: Six) => number;

interface Kernel {
  readonly koffi: Koffi;
  readonly call: RawSyscall;
  readonly column: 0 | 1;
}

let kernel: Kernel | undefined;

function open(): Kernel {
  const column = process.arch === "x64" ? 0 : process.arch === "arm64" ? 1 : undefined;
  if (column === undefined || process.platform !== "linux") {
    throw new Error(`no system call table for ${process.platform} ${process.arch}`);
  }
  const { createRequire } = process.getBuiltinModule("node:module");
  const koffi = createRequire(import.meta.url)("koffi") as Koffi;
  const pointers = Array.from({ length: 6 }, () => "void *");
  kernel = { koffi, call: koffi.load(null).func("syscall", "long", ["long", ...pointers]), column };
  return kernel;
}

let errnoNames: ReadonlyMap<number, string> | undefined;

/** `EPERM` for 1, and so on. */
export function errnoName(errno: number): string {
  errnoNames ??= new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

/** A refused system call: `code` is the errno's name. */
export interface SyscallError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
}

/** The error of a refused call, made as Node makes its own. */
export function syscallError(code: string, syscall: string, path?: string): SyscallError {
  const place = path === undefined ? "" : ` '${path}'`;
  return Object.assign(new Error(`${code}: ${syscall}${place}`), {
    code,
    syscall,
    ...(path === undefined ? {} : { path }),
  });
}

/** Calls the kernel; the result, or minus the errno. Never throws for a refusal. */
export function trySyscall(name: SyscallName, ...args: readonly SyscallArgument[]): number {
  const { call, koffi, column } = kernel ?? open();
  const result = call(
    NUMBERS[name][column],
    args[0] ?? 0,
    args[1] ?? 0,
    args[2] ?? 0,
    args[3] ?? 0,
    args[4] ?? 0,
    args[5] ?? 0,
  );
  return result === -1 ? -koffi.errno() : result;
}

/** Calls the kernel; throws a `SyscallError` that names `path` when it refuses. */
export function syscall(
  name: SyscallName,
  path: string | undefined,
  ...args: readonly SyscallArgument[]
): number {
  const result = trySyscall(name, ...args);
  if (result < 0) throw syscallError(errnoName(-result), name, path);
  return result;
}

/** Text as a C string in UTF-8. */
export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`, "utf8");
}

/** A byte string (one character per byte) as a C string. */
export function cBytes(bytes: string): Buffer {
  return Buffer.from(`${bytes}\0`, "latin1");
}

/** A NULL-terminated array of C strings; the strings live as long as the returned object. */
export function cStringArray(strings: readonly string[]): {
  readonly pointers: BigUint64Array;
  readonly strings: readonly Buffer[];
} {
  const buffers = strings.map(cString);
  return { pointers: BigUint64Array.from([...buffers.map(addressOf), 0n]), strings: buffers };
}

/** Where a buffer lies in memory; V8 never moves the bytes of a Buffer. */
export function addressOf(buffer: Uint8Array): bigint {
  return (kernel ?? open()).koffi.address(buffer);
}

/** Loads the library, so that a later call costs nothing. Throws when the platform is not supported. */
export function loadKernel(): void {
  if (kernel === undefined) open();
  trySyscall("close", -1);
}

export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;
export const AT_REMOVEDIR = 0x200;
export const O_PATH = 0x200000;
export const O_CLOEXEC = 0x80000;
/** These two differ between x64 and arm64. */
export const O_DIRECTORY = process.arch === "arm64" ? 0x4000 : 0x10000;
export const O_NOFOLLOW = process.arch === "arm64" ? 0x8000 : 0x20000;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NOCTTY = 0x100;
export const O_NONBLOCK = 0x800;
const EMPTY = cString("");

export function close(fd: number): void {
  trySyscall("close", fd);
}

/** openat(2), always close-on-exec. */
export function openAt(dirFd: number, path: string, flags: number): number {
  return syscall("openat", path, dirFd, cString(path), flags | O_CLOEXEC, 0);
}

/** Pipe ends, close-on-exec and blocking. */
export function makePipe(): { readonly readEnd: number; readonly writeEnd: number } {
  const ends = Buffer.alloc(8);
  syscall("pipe2", undefined, ends, O_CLOEXEC);
  return { readEnd: ends.readInt32LE(0), writeEnd: ends.readInt32LE(4) };
}

/** A file descriptor of another process (5.6), given leave to trace it. Close-on-exec. */
export function takeDescriptor(pid: number, fd: number): number {
  const process = syscall("pidfd_open", undefined, pid, 0);
  try {
    return syscall("pidfd_getfd", undefined, process, fd, 0);
  } finally {
    close(process);
  }
}

/** Attributes of a mount, as mount_setattr(2) numbers them. */
export const MOUNT = { readOnly: 1, noSuid: 2, noDev: 4, noExec: 8 } as const;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;

/** A detached copy of the mount at a path (or at a descriptor, with an empty path), with all that is mounted below it. */
export function cloneMount(dirFd: number, path: string): number {
  const flags = OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE | (path === "" ? AT_EMPTY_PATH : 0);
  return syscall("open_tree", path, dirFd, cString(path), flags);
}

/** Adds attributes to a mount and all below it. */
export function restrictMount(mountFd: number, attributes: number): void {
  changeMount(mountFd, attributes, 0);
}

/** Adds and takes away attributes of a mount and all below it. */
export function changeMount(mountFd: number, added: number, removed: number): void {
  const request = BigUint64Array.from([BigInt(added), BigInt(removed), 0n, 0n]);
  syscall("mount_setattr", undefined, mountFd, EMPTY, AT_EMPTY_PATH | AT_RECURSIVE, request, 32);
}

/** Shows the owners in a detached mount as a user namespace maps them; what is made through it is stored unmapped (5.12). */
export function mapOwners(mountFd: number, namespaceFd: number, path: string): void {
  const request = BigUint64Array.from([0x100000n /* MOUNT_ATTR_IDMAP */, 0n, 0n, BigInt(namespaceFd)]);
  syscall("mount_setattr", path, mountFd, EMPTY, AT_EMPTY_PATH, request, 32);
}

/** Adds attributes to the mount that a path is the root of, and to that one only. */
export function restrictMountAt(path: string, attributes: number): void {
  const request = BigUint64Array.from([BigInt(attributes), 0n, 0n, 0n]);
  syscall("mount_setattr", path, AT_FDCWD, cString(path), 0, request, 32);
}

/** Puts a detached mount on what `targetFd` is, whatever its name has become. */
export function attachMount(mountFd: number, targetFd: number, path: string): void {
  syscall("move_mount", path, mountFd, EMPTY, targetFd, EMPTY, 0x4 | 0x40);
}

/** A new file system as a detached mount; options in the order given. */
export function newMount(
  type: string,
  options: Readonly<Record<string, string>>,
  attributes: number,
): number {
  const context = syscall("fsopen", type, cString(type), 1);
  try {
    for (const [key, value] of Object.entries(options)) {
      syscall("fsconfig", `${type} ${key}=${value}`, context, 1, cString(key), cString(value), 0);
    }
    syscall("fsconfig", type, context, 6, null, null, 0);
    return syscall("fsmount", type, context, 1, attributes);
  } finally {
    close(context);
  }
}

/** mount(2), the old way. */
export function mount(
  source: string,
  target: string,
  type: string | null,
  flags: number,
  options: string | null,
): void {
  const text = (value: string | null): Buffer | null => (value === null ? null : cString(value));
  syscall("mount", target, cString(source), cString(target), text(type), flags, text(options));
}
