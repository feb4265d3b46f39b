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
export const NEW_NAMESPACES = 0x7e020000;
const AF_ALG = 38;
const AF_VSOCK = 40;
/** SYS_SOCKET and SYS_SOCKETPAIR of socketcall(2). */
const SOCKETCALLS = [1, 8];
/** PER_LINUX, PER_LINUX32, the same with UNAME26, and the query. */
const PERSONALITIES = [0, 0x8, 0x20000, 0x20008, 0xffffffff];

/** The filter for a process with these capabilities, as an array of `struct sock_filter`. */
export function seccompFilter(capabilities: readonly string[], arch: string = process.arch): Buffer {
  const set = new Set(capabilities);
  return filterOf(arch, (table) => [...inspectedCalls(table), ...closedCalls(table, set)]);
}

/**
 * That part of it which the profile of an OCI runtime cannot say (oci-seccomp.ts has the rest). It forbids nothing that
 * a runtime needs, so that it can be loaded before the runtime.
 */
export function underlyingFilter(arch: string = process.arch): Buffer {
  return filterOf(arch, inspectedCalls);
}

function filterOf(arch: string, specialCalls: (table: CallTable) => readonly SpecialCall[]): Buffer {
  return assemble(
    callTables(arch).map((table) => ({ audit: table.audit, ranges: rangesOf(table, specialCalls(table)) })),
  );
}

type SpecialCall = readonly [number: number, program: readonly Instruction[]];

/** Calls that are open or closed as a whole, or with the flags for namespaces. */
function closedCalls(table: CallTable, capabilities: ReadonlySet<string>): readonly SpecialCall[] {
  const closed = Object.entries(table.closed)
    .filter(([capability]) => !capabilities.has(capability))
    .flatMap(([, numbers]) => numbers.map((number): SpecialCall => [number, [answer(EPERM)]]));
  const clone: readonly SpecialCall[] = capabilities.has("CAP_SYS_ADMIN")
    ? []
    : [[table.clone, withoutNamespaces()]];
  return [...closed, ...clone, [table.clone3, [answer(ENOSYS)]]];
}

/** Calls that depend on their first argument, whatever the capabilities. */
function inspectedCalls(table: CallTable): readonly SpecialCall[] {
  const { socketcall } = table;
  return [
    [table.socket, firstArgumentIn([AF_ALG, AF_VSOCK], EPERM, ALLOW)],
    [table.personality, firstArgumentIn(PERSONALITIES, ALLOW, EPERM)],
    ...(socketcall === undefined
      ? []
      : ([[socketcall, firstArgumentIn(SOCKETCALLS, ENOSYS, ALLOW)]] as const)),
  ];
}

function rangesOf(table: CallTable, special: readonly SpecialCall[]): readonly Range[] {
  const ranges: Range[] = [{ from: 0, program: [answer(ALLOW)] }];
  for (const [number, program] of special.toSorted(([a], [b]) => a - b)) {
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
