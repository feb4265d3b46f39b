import { callTables } from "./seccomp-table.js";
import type { CallTable } from "./seccomp-table.js";

/** One classic BPF instruction, see linux/filter.h. */
interface Instruction {
  readonly code: number;
  readonly whenTrue?: number;
  readonly whenFalse?: number;
  readonly value: number;
}

const LOAD = 0x20;
const JUMP = 0x05;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const IF_ANY_BIT = 0x45;
const RETURN = 0x06;

const NUMBER_OFFSET = 0;
const ARCH_OFFSET = 4;
const FIRST_ARGUMENT_OFFSET = 16;

const ALLOW = 0x7fff0000;
const KILL_PROCESS = 0x80000000;
const EPERM = 0x00050000 + 1;
const ENOSYS = 0x00050000 + 38;

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
  const program: Instruction[] = [{ code: LOAD, value: ARCH_OFFSET }];
  for (const table of callTables(arch)) {
    const body = [{ code: LOAD, value: NUMBER_OFFSET }, ...decide(rangesOf(table, new Set(capabilities)))];
    program.push(
      { code: IF_EQUAL, value: table.audit, whenTrue: 1 },
      { code: JUMP, value: body.length },
      ...body,
    );
  }
  program.push(answer(KILL_PROCESS));
  return encode(program);
}

/** From call `from` up to the next range, this is what happens. */
interface Range {
  readonly from: number;
  readonly program: readonly Instruction[];
}

function answer(value: number): Instruction {
  return { code: RETURN, value };
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

/** A balanced tree of comparisons: about seven for any call, where a list would need a hundred. */
function decide(ranges: readonly Range[]): readonly Instruction[] {
  const [only] = ranges;
  if (only === undefined) throw new Error("no ranges");
  if (ranges.length === 1) return only.program;
  const middle = ranges.length >> 1;
  const below = decide(ranges.slice(0, middle));
  const pivot = ranges[middle]?.from ?? 0;
  const above = decide(ranges.slice(middle));
  // A conditional jump reaches 255 instructions, an unconditional one any.
  if (below.length < 256)
    return [{ code: IF_AT_LEAST, value: pivot, whenTrue: below.length }, ...below, ...above];
  return [
    { code: IF_AT_LEAST, value: pivot, whenFalse: 1 },
    { code: JUMP, value: below.length },
    ...below,
    ...above,
  ];
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, { code, whenTrue, whenFalse, value }] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(whenTrue ?? 0, index * 8 + 2);
    bytes.writeUInt8(whenFalse ?? 0, index * 8 + 3);
    bytes.writeUInt32LE(value, index * 8 + 4);
  }
  return bytes;
}
