import { openSync, readSync, writeFileSync } from "node:fs";
import { codeOf } from "./refusal.js";
import { errnoName, close, syscall, syscallError } from "./syscalls.js";

const CLONE_NEWNET = 0x40000000;
const [AF_INET, AF_NETLINK, SOCK_DGRAM, SOCK_RAW] = [2, 16, 2, 3];

/**
 * Moves this process into a network namespace and does what has to be done there once; that it was done before is the
 * usual case. The metadata services of clouds answer at a link-local address, and hand the machine's credentials to
 * whoever asks from it: no route leads there, and without CAP_NET_ADMIN no process can make one.
 */
export function joinNetwork(path: string): void {
  const namespace = openSync(path, "r");
  syscall("setns", path, namespace, CLONE_NEWNET);
  close(namespace);
  raiseLoopback();
  refuseLinkLocal();
}

/** Sets the loopback interface of this process's network namespace up. */
export function raiseLoopback(): void {
  const socket = syscall("socket", undefined, AF_INET, SOCK_DGRAM, 0);
  const request = Buffer.alloc(40);
  request.write("lo");
  request.writeUInt16LE(0x41, 16); // IFF_UP | IFF_RUNNING
  syscall("ioctl", "lo", socket, 0x8914, request);
  close(socket);
}

/**
 * Lets everybody in this process's network namespace listen on ports below 1024: CAP_NET_BIND_SERVICE of another user
 * namespace than the network's own does not count. Where /proc is read-only a process goes without.
 */
export function openLowPorts(): void {
  try {
    writeFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  } catch (error) {
    if (!["EROFS", "EACCES", "ENOENT"].includes(codeOf(error) ?? "")) throw error;
  }
}

/** `ip route add unreachable 169.254.0.0/16`, which nobody need have installed. */
function refuseLinkLocal(): void {
  const message = Buffer.alloc(36);
  // struct nlmsghdr: length, RTM_NEWROUTE, REQUEST | ACK | EXCL | CREATE.
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(24, 4);
  message.writeUInt16LE(0x1 | 0x4 | 0x200 | 0x400, 6);
  // struct rtmsg: family, length of the prefix; the main table, made by an administrator, everywhere, unreachable.
  message.writeUInt8(AF_INET, 16);
  message.writeUInt8(16, 17);
  message.set([254, 4, 0, 7], 20);
  // RTA_DST.
  message.writeUInt16LE(8, 28);
  message.writeUInt16LE(1, 30);
  message.set([169, 254, 0, 0], 32);
  const socket = syscall("socket", undefined, AF_NETLINK, SOCK_RAW, 0);
  syscall("sendto", undefined, socket, message, message.length, 0, null, 0);
  const answer = Buffer.alloc(64);
  readSync(socket, answer);
  close(socket);
  const errno = -answer.readInt32LE(16);
  if (errno !== 0 && errno !== 17 /* EEXIST */) throw syscallError(errnoName(errno), "RTM_NEWROUTE");
}
