/** One classic BPF instruction, see linux/filter.h. */
export interface Instruction {
  readonly code: number;
  readonly whenTrue?: number;
  readonly whenFalse?: number;
  readonly value: number;
}

/** Loads a 32-bit word of `struct seccomp_data`. */
export const LOAD = 0x20;
export const JUMP = 0x05;
export const IF_EQUAL = 0x15;
export const IF_ABOVE = 0x25;
export const IF_AT_LEAST = 0x35;
export const IF_ANY_BIT = 0x45;
export const AND = 0x54;
export const RETURN = 0x06;

/** Offsets in `struct seccomp_data`; an argument is 64 bits wide, its low half first on both of our architectures. */
export const NUMBER_OFFSET = 0;
export const ARCH_OFFSET = 4;
export const FIRST_ARGUMENT_OFFSET = 16;

export const ALLOW = 0x7fff0000;
export const KILL_PROCESS = 0x80000000;
/** The answer of this errno. */
export const ERRNO = 0x00050000;
export const EPERM = ERRNO + 1;
export const ENOSYS = ERRNO + 38;

/** From call `from` up to the next range, this is what happens. */
export interface Range {
  readonly from: number;
  readonly program: readonly Instruction[];
}

/** What happens to the calls of one architecture; its first range begins at 0. */
export interface ArchitectureRules {
  /** `AUDIT_ARCH_*` of linux/audit.h. */
  readonly audit: number;
  readonly ranges: readonly Range[];
}

export function answer(value: number): Instruction {
  return { code: RETURN, value };
}

/** A filter as an array of `struct sock_filter`; programs of other architectures are killed. */
export function assemble(architectures: readonly ArchitectureRules[]): Buffer {
  const program: Instruction[] = [{ code: LOAD, value: ARCH_OFFSET }];
  for (const { audit, ranges } of architectures) {
    const body = [{ code: LOAD, value: NUMBER_OFFSET }, ...decide(ranges)];
    program.push({ code: IF_EQUAL, value: audit, whenTrue: 1 }, { code: JUMP, value: body.length }, ...body);
  }
  program.push(answer(KILL_PROCESS));
  return encode(program);
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
