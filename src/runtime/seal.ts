import {
  AT_FDCWD,
  MOUNT,
  O_PATH,
  attachMount,
  cString,
  cStringArray,
  cloneMount,
  close,
  openAt,
  restrictMount,
  syscall,
} from "./syscalls.js";

const READ_ONLY = 1n;
const SEALED = "--sealed";

/**
 * An image whose /bin/sh begins with `#!/proc/self/exe` gets the helper's own executable started inside the sandbox,
 * and could then open it for writing through /proc (hazard X01). So the helper must have been started from a read-only
 * mount. The command that starts it tries to make one; where it could not, this makes one and starts over. Returns when
 * sealed; throws when the kernel will not have it.
 */
export function sealExecutable(): void {
  if (isReadOnly("/proc/self/exe")) return;
  if (process.argv.includes(SEALED)) throw new Error("the executable is still writable");
  const target = openAt(AT_FDCWD, process.execPath, O_PATH);
  const copy = cloneMount(AT_FDCWD, process.execPath);
  restrictMount(copy, MOUNT.readOnly);
  attachMount(copy, target, process.execPath);
  const argv = cStringArray([process.execPath, ...process.execArgv, ...process.argv.slice(1), SEALED]);
  const env = cStringArray(Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ""}`));
  for (let fd = 0; fd <= 6; fd += 1) syscall("fcntl", undefined, fd, 2 /* F_SETFD */, 0);
  syscall("execve", process.execPath, cString(process.execPath), argv.pointers, env.pointers);
}

function isReadOnly(path: string): boolean {
  const fd = openAt(AT_FDCWD, path, O_PATH);
  // struct statfs: ten words, then the mount's flags.
  const facts = new BigUint64Array(15);
  syscall("fstatfs", path, fd, facts);
  close(fd);
  return ((facts[10] ?? 0n) & READ_ONLY) !== 0n;
}
