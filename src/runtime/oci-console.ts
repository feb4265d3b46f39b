import { close, cString, addressOf, syscall, trySyscall } from "./syscalls.js";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0x80000;
const TIOCSWINSZ = 0x5414;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0x800;

/** A socket for a runtime's --console-socket, below the working directory: a path of this kind has 107 bytes at most. */
export function listenForConsole(name: string): number {
  const socket = syscall("socket", undefined, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const path = cString(name);
  const address = Buffer.concat([Buffer.from(Uint16Array.of(AF_UNIX).buffer), path]);
  syscall("bind", name, socket, address, address.length);
  syscall("listen", name, socket, 1);
  return socket;
}

/** The master end of the terminal that a runtime, which has ended its `create`, has sent; blocking. Closes the socket. */
export function receiveConsole(
  socket: number,
  size: { readonly rows: number; readonly columns: number },
): number {
  // Non-blocking: a runtime that never connected must not be waited for.
  syscall("fcntl", undefined, socket, F_SETFL, O_NONBLOCK);
  const connection = syscall("accept4", undefined, socket, null, null, SOCK_CLOEXEC);
  const master = receiveDescriptor(connection);
  close(connection);
  close(socket);
  const flags = syscall("fcntl", undefined, master, F_GETFL);
  syscall("fcntl", undefined, master, F_SETFL, flags & ~O_NONBLOCK);
  const words = Buffer.alloc(8);
  words.writeUInt16LE(size.rows, 0);
  words.writeUInt16LE(size.columns, 2);
  trySyscall("ioctl", master, TIOCSWINSZ, words);
  return master;
}

/** recvmsg(2) with room for one descriptor. */
function receiveDescriptor(connection: number): number {
  const text = Buffer.alloc(4096);
  const vector = BigUint64Array.of(addressOf(text), BigInt(text.length));
  const control = Buffer.alloc(24);
  const message = BigUint64Array.of(
    0n,
    0n,
    addressOf(new Uint8Array(vector.buffer)),
    1n,
    addressOf(control),
    BigInt(control.length),
    0n,
  );
  syscall("recvmsg", undefined, connection, message, 0x40000000 /* MSG_CMSG_CLOEXEC */);
  if (control.readBigUInt64LE(0) < 20n) throw new Error("the runtime sent no terminal");
  return control.readInt32LE(16);
}
