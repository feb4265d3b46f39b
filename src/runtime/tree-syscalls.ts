import type { TreeSyscalls } from "../fs/index.js";
import { AT_FDCWD, cBytes, errnoName, syscall, syscallError, trySyscall } from "./syscalls.js";

const NONE: ReadonlyMap<string, Buffer> = new Map();
const ENODATA = -61;
const ERANGE = -34;
const EOPNOTSUPP = -95;
/** The kernel's limits: XATTR_LIST_MAX and XATTR_SIZE_MAX. */
const LARGEST = 65536;
const TYPES = { char: 0o020000, block: 0o060000, fifo: 0o010000, socket: 0o140000 } as const;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** Loads the library at the first call of one of its functions. */
export function treeSyscalls(): TreeSyscalls {
  return { xattrs: readXattrs, setXattr, makeNode, setTime };
}

let space: Buffer | undefined;

/** All extended attributes of one object, by name (a byte string); empty when its file system has none. About 3 us when there are none. */
export function readXattrs(path: string): ReadonlyMap<string, Buffer> {
  space ??= Buffer.alloc(LARGEST);
  const place = cBytes(path);
  const length = trySyscall("llistxattr", place, space, LARGEST);
  if (length === 0 || length === EOPNOTSUPP) return NONE;
  if (length < 0) throw syscallError(errnoName(-length), "llistxattr", path);
  const found = new Map<string, Buffer>();
  for (const name of space.toString("latin1", 0, length - 1).split("\0")) {
    const size = trySyscall("lgetxattr", place, cBytes(name), space, LARGEST);
    // Removed since it was listed, or listed for others than us.
    if (size === ENODATA || size === EOPNOTSUPP) continue;
    if (size < 0)
      throw syscallError(errnoName(-size), size === ERANGE ? `lgetxattr ${name}` : "lgetxattr", path);
    found.set(name, Buffer.from(space.subarray(0, size)));
  }
  return found;
}

function setXattr(path: string, name: string, value: Buffer): void {
  syscall("lsetxattr", path, cBytes(path), cBytes(name), value, value.length, 0);
}

/** The mode is exact, whatever our umask is. */
function makeNode(
  path: string,
  type: keyof typeof TYPES,
  mode: number,
  device: { readonly major: number; readonly minor: number },
): void {
  const before = process.umask(0);
  try {
    syscall("mknodat", path, AT_FDCWD, cBytes(path), TYPES[type] | (mode & 0o7777), deviceNumber(device));
  } finally {
    process.umask(before);
  }
}

/** As the kernel's new_encode_dev: 20 bits of minor around 12 of major. */
function deviceNumber({ major, minor }: { readonly major: number; readonly minor: number }): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

function setTime(path: string, mtimeNs: bigint): void {
  // Floor division: the nanoseconds of a time before 1970 still count upwards.
  const nanoseconds = ((mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const seconds = (mtimeNs - nanoseconds) / 1_000_000_000n;
  const time = BigInt64Array.from([seconds, nanoseconds, seconds, nanoseconds]);
  syscall("utimensat", path, AT_FDCWD, cBytes(path), new Uint8Array(time.buffer), AT_SYMLINK_NOFOLLOW);
}
