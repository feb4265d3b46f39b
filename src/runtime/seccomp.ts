import {
  ALLOW,
  ENOSYS,
  EPERM,
  FIRST_ARGUMENT_OFFSET,
  IF_ANY_BIT,
  IF_EQUAL,
  LOAD,
  answer,
  assemble,
} from "./bpf.js";
import type { Instruction, Range } from "./bpf.js";
import { callTables } from "./seccomp-table.js";
import type { CallTable } from "./seccomp-table.js";

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const NEW_NAMESPACES = 0x7e020000;
const AF_ALG = 38;
const AF_VSOCK = 40;
/** SYS_SOCKET and SYS_SOCKETPAIR of socketcall(2). */
const SOCKETCALLS = [1, 8];
/** PER_LINUX, PER_LINUX32, the same with UNAME26, and the query. */
const PERSONALITIES = [0, 0x8, 0x20000, 0x20008, 0xffffffff];

/** The filter for a process with these capabilities, as an array of `struct sock_filter`. */
export function seccompFilter(capabilities: readonly string[], arch: string = process.arch): Buffer {
  return assemble(
    callTables(arch).map((table) => ({ audit: table.audit, ranges: rangesOf(table, new Set(capabilities)) })),
  );
}

function rangesOf(table: CallTable, capabilities: ReadonlySet<string>): readonly Range[] {
  const special = new Map<number, readonly Instruction[]>();
  for (const [capability, numbers] of Object.entries(table.closed)) {
    if (capabilities.has(capability)) continue;
    for (const number of numbers) special.set(number, [answer(EPERM)]);
  }
  if (!capabilities.has("CAP_SYS_ADMIN")) special.set(table.clone, withoutNamespaces());
  special.set(table.clone3, [answer(ENOSYS)]);
  special.set(table.socket, firstArgumentIn([AF_ALG, AF_VSOCK], EPERM, ALLOW));
  special.set(table.personality, firstArgumentIn(PERSONALITIES, ALLOW, EPERM));
  if (table.socketcall !== undefined)
    special.set(table.socketcall, firstArgumentIn(SOCKETCALLS, ENOSYS, ALLOW));
  const ranges: Range[] = [{ from: 0, program: [answer(ALLOW)] }];
  for (const [number, program] of [...special].toSorted(([a], [b]) => a - b)) {
    if (ranges.at(-1)?.from === number) ranges.pop();
    ranges.push({ from: number, program }, { from: number + 1, program: [answer(ALLOW)] });
  }
  // x32 calls have bit 30 set and so are above the last one too.
  return [...ranges, { from: table.last + 1, program: [answer(ENOSYS)] }];
}

function withoutNamespaces(): readonly Instruction[] {
  return [
    { code: LOAD, value: FIRST_ARGUMENT_OFFSET },
    { code: IF_ANY_BIT, value: NEW_NAMESPACES, whenFalse: 1 },
    answer(EPERM),
    answer(ALLOW),
  ];
}

/** Both architectures are little-endian, and all these arguments are 32-bit ones: the low half is the first word. */
function firstArgumentIn(values: readonly number[], inside: number, outside: number): readonly Instruction[] {
  return [
    { code: LOAD, value: FIRST_ARGUMENT_OFFSET },
    ...values.map((value, index) => ({ code: IF_EQUAL, value, whenTrue: values.length - index })),
    answer(outside),
    answer(inside),
  ];
}
