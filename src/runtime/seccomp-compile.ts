import { CooperError } from "../errors.js";
import {
  AND,
  ENOSYS,
  ERRNO,
  FIRST_ARGUMENT_OFFSET,
  IF_ABOVE,
  IF_AT_LEAST,
  IF_EQUAL,
  LOAD,
  answer,
  assemble,
} from "./bpf.js";
import type { Instruction, Range } from "./bpf.js";
import { systemCalls } from "./system-calls.js";
import type { ArgumentTest, Condition, ProfileRule, SeccompProfile } from "./seccomp-profile.js";

/** Where a profile is to hold. */
export interface Circumstances {
  readonly capabilities: readonly string[];
  /** As Node names it. */
  readonly arch: string;
  /** As uname(2) says it: `6.1.0-12-amd64`. */
  readonly kernel: string;
}

interface Architecture {
  readonly audit: number;
  readonly table: "x64" | "arm64" | "i386";
  readonly scmp: string;
}

const X64: Architecture = { audit: 0xc000003e, table: "x64", scmp: "SCMP_ARCH_X86_64" };
const I386: Architecture = { audit: 0x40000003, table: "i386", scmp: "SCMP_ARCH_X86" };
const ARM64: Architecture = { audit: 0xc00000b7, table: "arm64", scmp: "SCMP_ARCH_AARCH64" };

/** BPF_MAXINSNS */
const MOST_INSTRUCTIONS = 4096;

/**
 * A profile as a filter: `struct sock_filter`s. As with libseccomp, a rule without tests goes before those with, and the
 * first of several counts; what no rule says gets the default action, but calls newer than our tables ENOSYS where that
 * is an error, so that programs fall back to older ones. Throws `unsupported` for a profile beyond what the kernel takes.
 */
export function compileSeccompProfile(profile: SeccompProfile, at: Circumstances): Buffer {
  const native = at.arch === "arm64" ? ARM64 : X64;
  const named = profile.architectures
    .filter((entry) => entry.native === undefined || entry.native === native.scmp)
    .flatMap(({ others }) => others);
  // Only 32-bit x86 goes with one of ours; there are no programs of another architecture, or no table of its calls.
  const architectures = native === X64 && named.includes(I386.scmp) ? [X64, I386] : [native];
  const rules = profile.rules.filter((rule) => isInForce(rule, at));
  const filter = assemble(
    architectures.map(({ audit, table }) => ({
      audit,
      ranges: rangesOf(profile.defaultAction, rules, table),
    })),
  );
  if (filter.length / 8 > MOST_INSTRUCTIONS)
    throw new CooperError("unsupported", "the seccomp profile is too large for one filter of the kernel");
  return filter;
}

/** Whether a rule holds there. */
export function isInForce({ includes, excludes }: ProfileRule, at: Circumstances): boolean {
  const arch = at.arch === "arm64" ? "arm64" : "amd64";
  const isOld = ({ minKernel }: Condition): boolean | undefined => minKernel && isOlder(at.kernel, minKernel);
  if (excludes.caps.some((name) => at.capabilities.includes(name))) return false;
  if (excludes.arches.includes(arch) || isOld(excludes) === false) return false;
  if (!includes.caps.every((name) => at.capabilities.includes(name))) return false;
  return (includes.arches.length === 0 || includes.arches.includes(arch)) && isOld(includes) !== true;
}

function isOlder(release: string, [major, minor]: readonly [number, number]): boolean {
  const [have = 0, haveMinor = 0] = release.split(/[.-]/).map(Number);
  return have < major || (have === major && haveMinor < minor);
}

function rangesOf(
  byDefault: number,
  rules: readonly ProfileRule[],
  table: Architecture["table"],
): readonly Range[] {
  const numbers = systemCalls(table);
  const found = new Map<number, ProfileRule[]>();
  for (const rule of rules) {
    // A rule that says what happens anyhow is none, as for runc.
    if (rule.action === byDefault) continue;
    for (const name of rule.names) {
      const number = numbers.get(name);
      if (number !== undefined) found.set(number, [...(found.get(number) ?? []), rule]);
    }
  }
  const ranges: Range[] = [];
  let next = 0;
  const add = (from: number, program: readonly Instruction[]): void => {
    if (!isSame(ranges.at(-1)?.program, program)) ranges.push({ from, program });
  };
  for (const [number, own] of [...found].toSorted(([a], [b]) => a - b)) {
    if (number > next) add(next, [answer(byDefault)]);
    add(number, programOf(own, byDefault));
    next = number + 1;
  }
  add(next, [answer(byDefault)]);
  // x32 calls have bit 30 set and so are above the last one too: they are never allowed.
  const isError = byDefault >= ERRNO && byDefault <= ERRNO + 0xffff;
  const newer = Math.max(...numbers.values()) + 1;
  if (isError) add(newer, [answer(ENOSYS)]);
  else add(0x40000000, [answer(ENOSYS)]);
  return ranges;
}

function isSame(a: readonly Instruction[] | undefined, b: readonly Instruction[]): boolean {
  const [first, ...more] = a ?? [];
  return first !== undefined && more.length === 0 && b.length === 1 && first.value === b[0]?.value;
}

function programOf(rules: readonly ProfileRule[], byDefault: number): readonly Instruction[] {
  const plain = rules.find(({ tests }) => tests.length === 0);
  if (plain) return [answer(plain.action)];
  return [
    ...rules.flatMap(alternatives).flatMap(({ action, tests }) => whenAll(tests, action)),
    answer(byDefault),
  ];
}

/** Tests of one argument that stand beside each other are alternatives, as for runc; otherwise all must hold. */
function alternatives(rule: ProfileRule): readonly Pick<ProfileRule, "action" | "tests">[] {
  const indexes = new Set(rule.tests.map(({ index }) => index));
  if (indexes.size === rule.tests.length) return [rule];
  return rule.tests.map((test) => ({ action: rule.action, tests: [test] }));
}

/** A jump to the end of its rule. */
const FAIL = -1;

/** Answers `action` when all tests hold, and otherwise goes on behind. */
function whenAll(tests: readonly ArgumentTest[], action: number): readonly Instruction[] {
  const program = [...tests.flatMap(comparison), answer(action)];
  return program.map((instruction, index) => {
    const end = program.length - index - 1;
    const target = (jump: number | undefined): number => (jump === FAIL ? end : (jump ?? 0));
    return {
      ...instruction,
      whenTrue: target(instruction.whenTrue),
      whenFalse: target(instruction.whenFalse),
    };
  });
}

/** The filter's machine has words of 32 bits: the high halves first, the low ones when those are equal. */
function comparison({ index, op, value, second }: ArgumentTest): readonly Instruction[] {
  const offset = FIRST_ARGUMENT_OFFSET + 8 * index;
  const [low, high] = [
    { code: LOAD, value: offset },
    { code: LOAD, value: offset + 4 },
  ];
  const halves = (number: bigint): readonly [low: number, high: number] => [
    Number(number & 0xffffffffn),
    Number(number >> 32n),
  ];
  const [valueLow, valueHigh] = halves(value);
  const equal = (number: number, whenFalse: number): Instruction => ({
    code: IF_EQUAL,
    value: number,
    whenFalse,
  });
  const compare = (code: number, number: number, jumps: Partial<Instruction>): Instruction => ({
    code,
    value: number,
    ...jumps,
  });
  switch (op) {
    case "EQ":
      return [high, equal(valueHigh, FAIL), low, equal(valueLow, FAIL)];
    case "NE":
      return [high, equal(valueHigh, 2), low, compare(IF_EQUAL, valueLow, { whenTrue: FAIL })];
    case "GT":
    case "GE": {
      const code = op === "GT" ? IF_ABOVE : IF_AT_LEAST;
      const above = compare(IF_ABOVE, valueHigh, { whenTrue: 3 });
      return [high, above, equal(valueHigh, FAIL), low, compare(code, valueLow, { whenFalse: FAIL })];
    }
    case "LT":
    case "LE": {
      const code = op === "LT" ? IF_AT_LEAST : IF_ABOVE;
      const above = compare(IF_ABOVE, valueHigh, { whenTrue: FAIL });
      return [high, above, equal(valueHigh, 2), low, compare(code, valueLow, { whenTrue: FAIL })];
    }
    case "MASKED_EQ": {
      const [wantedLow, wantedHigh] = halves(second & value);
      const masked = (mask: number): Instruction => ({ code: AND, value: mask });
      return [
        high,
        masked(valueHigh),
        equal(wantedHigh, FAIL),
        low,
        masked(valueLow),
        equal(wantedLow, FAIL),
      ];
    }
  }
}
