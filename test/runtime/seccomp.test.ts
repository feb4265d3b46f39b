import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_CAPABILITIES } from "../../src/runtime/index.js";
import { seccompFilter } from "../../src/runtime/seccomp.js";
import { callTables } from "../../src/runtime/seccomp-table.js";
import type { CallTable } from "../../src/runtime/seccomp-table.js";
import type { Bench } from "./support.js";
import { openBench, syscall32Program, syscallProgram, testX64 } from "./support.js";

const [ALLOW, KILL, EPERM, ENOSYS] = [0x7fff0000, 0x80000000, 0x50001, 0x50026];

/** Runs a filter as the kernel would, for a call with a first argument. */
function decide(filter: Buffer, audit: number, number: number, argument = 0): number {
  const seen = new Map([
    [0, number],
    [4, audit],
    [16, argument],
  ]);
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at += 1) {
    const [code, yes, no, value] = [
      filter.readUInt16LE(at * 8),
      filter[at * 8 + 2] ?? 0,
      filter[at * 8 + 3] ?? 0,
      filter.readUInt32LE(at * 8 + 4),
    ];
    if (code === 0x06) return value;
    if (code === 0x20) accumulator = seen.get(value) ?? NaN;
    else if (code === 0x05) at += value;
    else if (code === 0x15) at += accumulator === value ? yes : no;
    else if (code === 0x35) at += accumulator >= value ? yes : no;
    else if (code === 0x45) at += (accumulator & value) !== 0 ? yes : no;
    else throw new Error(`instruction ${code}`);
  }
  throw new Error("fell off the end");
}

function expected(table: CallTable, number: number, capabilities: readonly string[]): number {
  if (number > table.last || number === table.clone3) return ENOSYS;
  const closed = Object.entries(table.closed).some(
    ([name, numbers]) => !capabilities.includes(name) && numbers.includes(number),
  );
  return closed ? EPERM : ALLOW;
}

describe.each(["x64", "arm64"])("the filter of %s", (arch) => {
  const everything = callTables(arch)
    .flatMap((table) => Object.keys(table.closed))
    .filter((name) => name !== "");

  test.each([
    ["the default capabilities", DEFAULT_CAPABILITIES],
    ["none", []],
    ["all", everything],
  ])("answers every call as the table says, with %s", (_name, capabilities) => {
    const filter = seccompFilter(capabilities, arch);
    expect(filter.length / 8).toBeLessThan(4096);
    for (const table of callTables(arch)) {
      for (const number of [...Array(600).keys(), 0x40000000, 0x40000001, 0xffffffff]) {
        expect([number, decide(filter, table.audit, number)]).toEqual([
          number,
          expected(table, number, capabilities),
        ]);
      }
    }
  });

  test("looks at arguments", () => {
    const filter = seccompFilter(DEFAULT_CAPABILITIES, arch);
    const withAdmin = seccompFilter([...DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"], arch);
    for (const table of callTables(arch)) {
      const answer = (number: number, argument: number): number =>
        decide(filter, table.audit, number, argument);
      for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
        expect(answer(table.clone, flag | 17)).toBe(EPERM);
        expect(decide(withAdmin, table.audit, table.clone, flag | 17)).toBe(ALLOW);
      }
      expect(answer(table.clone, 0x3d0f00)).toBe(ALLOW);
      expect([1, 2, 10, 16, 38, 40].map((family) => answer(table.socket, family))).toEqual([
        ALLOW,
        ALLOW,
        ALLOW,
        ALLOW,
        EPERM,
        EPERM,
      ]);
      expect([0, 8, 0x20008, 0xffffffff, 0x40000].map((value) => answer(table.personality, value))).toEqual([
        ALLOW,
        ALLOW,
        ALLOW,
        ALLOW,
        EPERM,
      ]);
      if (table.socketcall !== undefined) {
        expect([1, 3, 8].map((call) => answer(table.socketcall ?? 0, call))).toEqual([ENOSYS, ALLOW, ENOSYS]);
      }
    }
  });

  test("kills programs of other architectures", () => {
    const filter = seccompFilter(DEFAULT_CAPABILITIES, arch);
    for (const audit of [0x40000028, 0x16, arch === "x64" ? 0xc00000b7 : 0xc000003e])
      expect(decide(filter, audit, 1)).toBe(KILL);
  });
});

describe("X06: the kernel applies it", () => {
  let bench: Bench;
  beforeAll(() => {
    bench = openBench();
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  async function errnoOf(program: Buffer, changes = {}): Promise<number> {
    const layer = bench.layer();
    writeFileSync(join(layer, "call"), program, { mode: 0o755 });
    const { status } = await bench.run(["/call"], { lowerDirs: [layer, bench.base], ...changes });
    return status.kind === "exited" ? status.code : -1;
  }

  const NEWNS = 0x20000;
  for (const [name, number, args, errno] of [
    ["getpid, as a control", 39, [], 0],
    ["mount", 165, [], 1],
    ["umount2", 166, [], 1],
    ["pivot_root", 155, [], 1],
    ["unshare(NEWUSER)", 272, [0x10000000], 1],
    ["unshare(NEWNS)", 272, [NEWNS], 1],
    ["setns", 308, [], 1],
    ["clone(NEWNS)", 56, [NEWNS], 1],
    ["clone3", 435, [], 38],
    ["keyctl", 250, [], 1],
    ["add_key", 248, [], 1],
    ["bpf", 321, [], 1],
    ["perf_event_open", 298, [], 1],
    ["userfaultfd", 323, [1], 1],
    ["io_uring_setup", 425, [], 1],
    ["open_by_handle_at", 304, [], 1],
    ["kexec_load", 246, [], 1],
    ["init_module", 175, [], 1],
    ["fsopen", 430, [], 1],
    ["open_tree", 428, [], 1],
    ["mount_setattr", 442, [], 1],
    ["reboot", 169, [], 1],
    ["AF_VSOCK", 41, [40, 1, 0], 1],
    ["AF_ALG", 41, [38, 5, 0], 1],
    ["AF_UNIX, as a control", 41, [1, 1, 0], 0],
    ["open_tree_attr, newer than the filter", 467, [], 38],
    ["an x32 call", 0x40000000 + 39, [], 38],
  ] as const) {
    testX64(`${name}: errno ${errno}`, async () => {
      expect(await errnoOf(syscallProgram(number, args))).toBe(errno);
      expect(await errnoOf(syscallProgram(number, args), { uid: 33, gid: 33 })).toBe(errno);
    });
  }

  for (const [name, number, args, errno] of [
    ["getpid, as a control", 20, [], 0],
    ["mount", 21, [], 1],
    ["socket(AF_ALG)", 359, [38, 5, 0], 1],
    ["socketcall(SYS_SOCKET)", 102, [1], 38],
    ["unshare(NEWUSER)", 310, [0x10000000], 1],
    ["clone3", 435, [], 38],
  ] as const) {
    testX64(`through int 0x80, ${name}: errno ${errno}`, async () => {
      expect(await errnoOf(syscall32Program(number, args))).toBe(errno);
    });
  }
});
