import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_CAPABILITIES, DEFAULT_SECURITY } from "../../src/runtime/index.js";
import { compileSeccompProfile } from "../../src/runtime/seccomp-compile.js";
import { parseSeccompProfile } from "../../src/runtime/seccomp-profile.js";
import { systemCalls } from "../../src/runtime/system-calls.js";
import { callTables } from "../../src/runtime/seccomp-table.js";
import type { Bench } from "./support.js";
import { openBench, syscall32Program, syscallProgram, testX64 } from "./support.js";

const [ALLOW, KILL, ERRNO, ENOSYS] = [0x7fff0000, 0x80000000, 0x50000, 0x50026];
const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7, i386: 0x40000003 } as const;
type Arch = keyof typeof AUDIT;

/** Runs a filter as the kernel would. */
function decide(filter: Buffer, arch: Arch, number: number, args: readonly bigint[] = []): number {
  const seen = Buffer.alloc(64);
  seen.writeUInt32LE(number, 0);
  seen.writeUInt32LE(AUDIT[arch], 4);
  for (const [index, value] of args.entries()) seen.writeBigUInt64LE(value, 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at += 1) {
    const code = filter.readUInt16LE(at * 8);
    const [yes = 0, no = 0] = filter.subarray(at * 8 + 2, at * 8 + 4);
    const value = filter.readUInt32LE(at * 8 + 4);
    const jump = (taken: boolean): void => void (at += taken ? yes : no);
    if (code === 0x06) return value;
    if (code === 0x20) accumulator = seen.readUInt32LE(value);
    else if (code === 0x54) accumulator = (accumulator & value) >>> 0;
    else if (code === 0x05) at += value;
    else if (code === 0x15) jump(accumulator === value);
    else if (code === 0x25) jump(accumulator > value);
    else if (code === 0x35) jump(accumulator >= value);
    else throw new Error(`instruction ${code}`);
  }
  throw new Error("fell off the end");
}

/** What a profile answers to a call by its name. */
function asked(
  profile: unknown,
  at: {
    readonly arch?: "x64" | "arm64";
    readonly capabilities?: readonly string[];
    readonly kernel?: string;
  } = {},
): (name: string | number, args?: readonly bigint[], arch?: Arch) => number {
  const { arch = "x64", capabilities = [], kernel = "6.1.0-12-amd64" } = at;
  const text = typeof profile === "string" ? profile : JSON.stringify(profile);
  const filter = compileSeccompProfile(parseSeccompProfile(text, "p.json"), { arch, capabilities, kernel });
  return (name, args, as = arch) =>
    decide(filter, as, typeof name === "number" ? name : (systemCalls(as).get(name) ?? NaN), args);
}

const ALLOWING = { defaultAction: "SCMP_ACT_ALLOW" };
const REFUSING = { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 38 };
const errno = (names: readonly string[], errnoRet?: number): object => ({
  names,
  action: "SCMP_ACT_ERRNO",
  errnoRet,
});

describe("the names of system calls", () => {
  test("agree with the table of the default filter", () => {
    for (const [arch, index] of [
      ["x64", 0],
      ["arm64", 0],
      ["i386", 1],
    ] as const) {
      const table = callTables(arch === "i386" ? "x64" : arch)[index];
      const numbers = systemCalls(arch);
      for (const name of ["clone", "clone3", "socket", "personality"] as const)
        expect(numbers.get(name)).toBe(table?.[name]);
      expect(Math.max(...numbers.values())).toBe(table?.last);
      expect(new Set(numbers.values()).size).toBe(numbers.size);
    }
  });

  test.each([
    ["x64", { read: 0, openat2: 437, statx: 332, rseq: 334, pidfd_send_signal: 424, mseal: 462 }],
    ["arm64", { read: 63, openat2: 437, statx: 291, kexec_file_load: 294, io_setup: 0, accept4: 242 }],
    [
      "i386",
      { read: 3, openat2: 437, statx: 383, clock_gettime64: 403, socketcall: 102, restart_syscall: 0 },
    ],
  ] as const)("%s", (arch, expected) => {
    const numbers = systemCalls(arch);
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, numbers.get(name)]))).toEqual(
      expected,
    );
  });
});

describe("what a profile answers", () => {
  test("a list of what is allowed", () => {
    const profile = {
      ...REFUSING,
      syscalls: [
        { names: ["read", "write", "no_such_call", "openat2"], action: "SCMP_ACT_ALLOW", args: null },
        errno(["mount"], 1),
        errno(["umount2"]),
        { name: "ptrace", action: "SCMP_ACT_KILL_PROCESS" },
        { names: ["kexec_load"], action: "SCMP_ACT_ERRNO", errno: "EAGAIN" },
        { names: ["reboot"], action: "SCMP_ACT_TRACE", errnoRet: 7 },
        { names: ["bpf"], action: "SCMP_ACT_LOG" },
        { names: ["acct"], action: "SCMP_ACT_TRAP" },
        { names: ["swapon"], action: "SCMP_ACT_KILL" },
      ],
    };
    for (const arch of ["x64", "arm64"] as const) {
      const answer = asked(profile, { arch });
      const told = "read openat2 write mount umount2 ptrace kexec_load reboot bpf acct swapon close"
        .split(" ")
        .map((name) => answer(name));
      expect(told).toEqual([
        ALLOW,
        ALLOW,
        ALLOW,
        ERRNO + 1,
        ERRNO + 1,
        KILL,
        ERRNO + 11,
        0x7ff00007,
        0x7ffc0000,
        0x30000,
        0,
        ENOSYS,
      ]);
      expect([467, 9999, 0x40000000, 0x40000001, 0xffffffff].map((number) => answer(number))).toEqual(
        Array(5).fill(ENOSYS),
      );
    }
  });

  test("a list of what is refused: newer calls are allowed, those of x32 are not", () => {
    const answer = asked({ ...ALLOWING, syscalls: [errno(["keyctl"], 1)] });
    expect([answer("keyctl"), answer("read"), answer(9999), answer(0x40000000)]).toEqual([
      ERRNO + 1,
      ALLOW,
      ALLOW,
      ENOSYS,
    ]);
  });

  test("programs of 32 bits only where the profile says so", () => {
    const syscalls = [errno(["mount"], 5)];
    const bare = asked({ ...ALLOWING, syscalls });
    const listed = asked({ ...ALLOWING, architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], syscalls });
    const archMap = [
      { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
      { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
    ];
    const mapped = asked({ ...ALLOWING, archMap, syscalls });
    expect([bare, listed, mapped].map((answer) => answer("mount", [], "i386"))).toEqual([
      KILL,
      ERRNO + 5,
      ERRNO + 5,
    ]);
    expect(mapped("getpid", [], "i386")).toBe(ALLOW);
    const arm = asked({ ...ALLOWING, archMap, syscalls }, { arch: "arm64" });
    expect([arm("mount"), arm("mount", [], "i386")]).toEqual([ERRNO + 5, KILL]);
  });

  test("includes and excludes by capability, architecture and kernel", () => {
    const rule = (name: string, conditions: object): object => ({
      names: [name],
      action: "SCMP_ACT_ALLOW",
      ...conditions,
    });
    const profile = {
      ...REFUSING,
      syscalls: [
        rule("mount", { includes: { caps: ["CAP_SYS_ADMIN"] } }),
        rule("reboot", { includes: { caps: ["CAP_SYS_ADMIN", "CAP_SYS_BOOT"] } }),
        rule("clone", { excludes: { caps: ["CAP_SYS_ADMIN", "CAP_X"] } }),
        rule("ptrace", { includes: { minKernel: "4.8" } }),
        rule("acct", { includes: { minKernel: "6.2" } }),
        rule("bpf", { excludes: { minKernel: "6.1" } }),
        rule("setns", { excludes: { minKernel: "7.0" }, includes: {} }),
        rule("capset", { includes: { arches: ["arm64", "arm"] } }),
        rule("unshare", { excludes: { arches: ["arm64"] } }),
      ],
    };
    const allowed = (at: Parameters<typeof asked>[1]): readonly string[] => {
      const answer = asked(profile, at);
      return "mount reboot clone ptrace acct bpf setns capset unshare"
        .split(" ")
        .filter((name) => answer(name) === ALLOW);
    };
    expect(allowed({})).toEqual(["clone", "ptrace", "setns", "unshare"]);
    expect(allowed({ capabilities: ["CAP_SYS_ADMIN"], kernel: "4.7.0" })).toEqual([
      "mount",
      "bpf",
      "setns",
      "unshare",
    ]);
    expect(allowed({ arch: "arm64", kernel: "10.0" })).toEqual(["clone", "ptrace", "acct", "capset"]);
  });

  test("all tests of a rule must hold, those of one argument one of them; a rule without tests goes first", () => {
    const eq = (index: number, value: number): object => ({ index, value, op: "SCMP_CMP_EQ" });
    const answer = asked({
      ...REFUSING,
      syscalls: [
        { names: ["socket", "socketpair"], action: "SCMP_ACT_ALLOW", args: [eq(0, 16), eq(2, 9)] },
        { names: ["personality"], action: "SCMP_ACT_ALLOW", args: [eq(0, 0), eq(0, 8)] },
        { names: ["socketpair"], action: "SCMP_ACT_LOG" },
        { names: ["socket"], action: "SCMP_ACT_LOG", args: [eq(0, 16)] },
      ],
    });
    expect(answer("socket", [16n, 0n, 9n])).toBe(ALLOW);
    expect(answer("socket", [16n, 0n, 8n])).toBe(0x7ffc0000);
    expect(answer("socket", [2n, 0n, 9n])).toBe(ENOSYS);
    expect(answer("socketpair", [16n, 0n, 9n])).toBe(0x7ffc0000);
    expect([0n, 8n, 1n, 1n << 32n].map((value) => answer("personality", [value]))).toEqual([
      ALLOW,
      ALLOW,
      ENOSYS,
      ENOSYS,
    ]);
  });

  test("comparisons are of 64 bits", () => {
    const edge = fc.constantFrom(0n, 1n, 0xffffffffn, 0x100000000n, 0x7e020000n, 2n ** 63n, 2n ** 64n - 1n);
    const word = fc.oneof(edge, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
    const meanings: Readonly<Record<string, (a: bigint, value: bigint, second: bigint) => boolean>> = {
      NE: (a, value) => a !== value,
      LT: (a, value) => a < value,
      LE: (a, value) => a <= value,
      EQ: (a, value) => a === value,
      GE: (a, value) => a >= value,
      GT: (a, value) => a > value,
      MASKED_EQ: (a, value, second) => (a & value) === (second & value),
    };
    const operator = fc.constantFrom(...Object.keys(meanings));
    const near = fc.constantFrom(-1n, 0n, 1n, 1n << 32n);
    fc.assert(
      fc.property(operator, word, word, near, fc.nat(5), (op, value, second, distance, index) => {
        const test = `{"index":${index},"op":"SCMP_CMP_${op}","value":${value},"valueTwo":${second}}`;
        const answer = asked(
          `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["ioctl"],"action":"SCMP_ACT_KILL_PROCESS","args":[${test}]}]}`,
        );
        for (const argument of [value, second, BigInt.asUintN(64, value + distance)]) {
          const args = Array<bigint>(6).fill(7n).with(index, argument);
          expect(answer("ioctl", args) === KILL).toBe(meanings[op]?.(argument, value, second));
        }
      }),
    );
  });

  test("a profile as long as docker's fits, however its calls lie", () => {
    const names = [...systemCalls("x64").keys()];
    const tests = [{ index: 0, value: 1, op: "SCMP_CMP_MASKED_EQ" }];
    const syscalls = names
      .filter((_, index) => index % 2 === 0)
      .map((name) => ({ names: [name], action: "SCMP_ACT_ALLOW", args: name === "clone" ? tests : [] }));
    const answer = asked({ ...REFUSING, architectures: ["SCMP_ARCH_X86"], syscalls });
    const even = names.filter((name, index) => index % 2 === 0 && name !== "clone");
    expect(even.filter((name) => answer(name) !== ALLOW)).toEqual([]);
    expect(names.filter((_, index) => index % 2 === 1).filter((name) => answer(name) === ALLOW)).toEqual([]);
  });

  test("one that is too long is refused", () => {
    const tests = Array.from({ length: 3000 }, (_, value) => ({ index: 0, value, op: "SCMP_CMP_EQ" }));
    const syscalls = [{ names: ["ioctl"], action: "SCMP_ACT_ALLOW", args: tests }];
    expect(() => asked({ ...REFUSING, syscalls })).toThrow("too large for one filter");
  });
});

describe("what is no profile", () => {
  const rule = (more: string): string =>
    `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],${more}}]}`;
  test.each([
    ["", "seccomp profile p.json:1:1: this is not JSON: it ends too early"],
    ["{\n  'a': 1}", "seccomp profile p.json:2:3: this is not JSON: expected a key in double quotes"],
    ['{"a": 1,\n}', "p.json:2:1: this is not JSON: expected a key in double quotes"],
    ['{"a": [1 2]}', 'p.json:1:10: this is not JSON: expected "," or "]"'],
    ['{"a": 01}', "p.json:1:7: this is not JSON: expected a value"],
    ['{"a": 1, "a": 2}', 'p.json:1:15: this is not JSON: the key "a" is there twice'],
    ["{} {}", "p.json:1:4: this is not JSON: nothing may follow the end"],
    ["[".repeat(100_000), "p.json:1:66: this is not JSON: it is nested too deep"],
    ["[]", "seccomp profile p.json: the profile is not an object"],
    ["{}", "seccomp profile p.json: defaultAction is missing"],
    ['{"defaultAction":"ALLOW"}', 'defaultAction cannot be "ALLOW"'],
    ['{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}', 'the profile cannot have the key "sycalls"'],
    ['{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}', "defaultErrnoRet is not a whole number"],
    ['{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EWHAT"}', 'defaultErrno cannot be "EWHAT"'],
    ['{"defaultAction":"SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY is not supported"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s"}', "listenerPath is not supported"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}', 'flags[0] cannot be "X"'],
    ['{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}', "syscalls is not an array"],
    [rule('"comment":""'), "syscalls[0].action is missing"],
    [rule('"action":"SCMP_ACT_ALLOW","name":"write"'), "syscalls[0].name and names exclude each other"],
    [
      rule('"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}]'),
      "syscalls[0].args[0].index is not",
    ],
    [
      rule('"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"=="}]'),
      'syscalls[0].args[0].op cannot be "=="',
    ],
    [
      rule('"action":"SCMP_ACT_ALLOW","args":[{"value":18446744073709551616,"op":"SCMP_CMP_EQ"}]'),
      "syscalls[0].args[0].value is not a whole number from 0 to 18446744073709551615",
    ],
    [
      rule('"action":"SCMP_ACT_ALLOW","args":[{"value":-1,"op":"SCMP_CMP_EQ"}]'),
      "args[0].value is not a whole",
    ],
    [rule('"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4"}'), 'minKernel cannot be "4"'],
    [rule('"action":"SCMP_ACT_ALLOW","includes":{"kernel":"4"}'), 'includes cannot have the key "kernel"'],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"a"}]}',
      "architectures and archMap exclude each other",
    ],
  ])("%.60s", (text, message) => {
    expect(() => parseSeccompProfile(text, "p.json")).toThrow(message);
  });
});

describe("the kernel applies a profile", () => {
  let bench: Bench;
  beforeAll(() => {
    bench = openBench();
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const security = (profile: object): typeof DEFAULT_SECURITY => ({
    ...DEFAULT_SECURITY,
    capabilities: DEFAULT_CAPABILITIES,
    seccomp: { kind: "profile", profile: JSON.stringify(profile), path: "p.json" },
  });

  async function answerTo(program: Buffer, profile: object): Promise<unknown> {
    const layer = bench.layer();
    writeFileSync(join(layer, "call"), program, { mode: 0o755 });
    const { status } = await bench.run(["/call"], {
      lowerDirs: [layer, bench.base],
      security: security(profile),
    });
    return status.kind === "exited" ? status.code : status.signal;
  }

  testX64("errnos, arguments, kills and programs of 32 bits", async () => {
    const tests = [{ index: 1, value: 0xff, valueTwo: 0x22, op: "SCMP_CMP_MASKED_EQ" }];
    const profile = {
      ...ALLOWING,
      architectures: ["SCMP_ARCH_X86"],
      syscalls: [
        errno(["getppid"], 77),
        { names: ["getpgid"], action: "SCMP_ACT_ERRNO", errnoRet: 66, args: tests },
        { names: ["getsid"], action: "SCMP_ACT_KILL_PROCESS" },
      ],
    };
    expect(await answerTo(syscallProgram(110), profile)).toBe(77);
    expect(await answerTo(syscallProgram(121, [0, 0x122]), profile)).toBe(66);
    expect(await answerTo(syscallProgram(121, [0, 0x123]), profile)).toBe(0);
    expect(await answerTo(syscallProgram(124), profile)).toBe("SIGSYS");
    expect(await answerTo(syscall32Program(64), profile)).toBe(77);
    expect(await answerTo(syscall32Program(20), profile)).toBe(0);
    expect(await answerTo(syscall32Program(20), { ...ALLOWING })).toBe("SIGSYS");
  });

  test("a list of what a shell needs", async () => {
    const names =
      "read write close pipe pipe2 sendfile execve exit_group setgroups setresgid setresuid capset rt_sigaction rt_sigprocmask rt_sigreturn " +
      "brk mmap munmap mprotect madvise arch_prctl prctl set_tid_address set_robust_list rseq getrandom prlimit64 uname " +
      "getuid geteuid getgid getegid getppid getpid getcwd stat fstat newfstatat readlink ioctl fcntl close_range open openat " +
      "dup2 dup3 wait4 clone vfork fork futex readlinkat statx access faccessat";
    const profile = {
      ...REFUSING,
      syscalls: [{ names: names.split(" "), action: "SCMP_ACT_ALLOW" }],
    };
    const run = await bench.sh("echo one; mkdir /two; cat /proc/self/status | grep ^Seccomp:", {
      security: security(profile),
    });
    expect(run.stdout).toBe("one\nSeccomp:\t2\n");
    expect(run.stderr).toContain("Function not implemented");
    expect(run.upper).not.toContain("two");
  });

  test("one that forbids what starts a command says so", async () => {
    const profile = { ...ALLOWING, syscalls: [{ names: ["write"], action: "SCMP_ACT_KILL_PROCESS" }] };
    await expect(bench.sh("true", { security: security(profile) })).rejects.toThrow(
      "the seccomp profile ends it",
    );
    await expect(
      bench.sh("true", { security: security({ ...ALLOWING, syscalls: [errno(["capset"], 1)] }) }),
    ).rejects.toThrow("capset");
  });
});
