import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { test } from "vitest";
import {
  DEFAULT_LIMITS,
  DEFAULT_SECURITY,
  findRuntime,
  openOciSandbox,
  openSandbox,
} from "../../src/runtime/index.js";
import { hasCode } from "../../src/errors.js";
import { copyModules } from "../support/installed.js";
import type { ExitStatus, Sandbox, SandboxPlan, SandboxSecurity } from "../../src/runtime/index.js";

export const childPath = fileURLToPath(new URL("../../dist/sandbox-child.cjs", import.meta.url));
export const PATH = "/bin";

/** Why sandboxes cannot be tested here, or undefined. Tests that need more say so themselves. */
export function whyNoSandbox(): string | undefined {
  if (process.getuid?.() !== 0) return "these tests must run as root (rootless.test.ts has the other half)";
  if (!existsSync("/bin/busybox")) return "the package busybox-static is not installed";
  if (!existsSync(childPath)) return "dist/ is not built: node scripts/build.mjs --fast";
  return undefined;
}

/** Throws, so that a machine that cannot run these tests fails them aloud. */
export function requireSandbox(): void {
  const reason = whyNoSandbox();
  if (reason !== undefined) throw new Error(`cannot test the sandbox: ${reason}`);
}

export interface Finished {
  readonly status: ExitStatus;
  readonly stdout: string;
  readonly stderr: string;
  /** Names below the upper directory, relative, sorted. */
  readonly upper: readonly string[];
  readonly upperDir: string;
}

/** A temporary directory with a busybox root file system, a sandbox over it, and what both need. */
export interface Bench extends AsyncDisposable {
  readonly dir: string;
  readonly base: string;
  readonly sandbox: Sandbox;
  /** A further lower directory, empty; put it before `base` in `lowerDirs`. */
  layer(): string;
  plan(
    argv: readonly string[],
    changes?: Partial<SandboxPlan> & { readonly lowerDirs?: readonly string[] },
  ): SandboxPlan;
  run(
    argv: readonly string[],
    changes?: Partial<SandboxPlan> & { readonly lowerDirs?: readonly string[] },
    signal?: AbortSignal,
  ): Promise<Finished>;
  sh(
    script: string,
    changes?: Partial<SandboxPlan> & { readonly lowerDirs?: readonly string[] },
  ): Promise<Finished>;
}

let applets: readonly string[] | undefined;

export function busyboxRoot(dir: string): void {
  applets ??= execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n");
  mkdirSync(join(dir, "bin"), { recursive: true });
  copyFileSync("/bin/busybox", join(dir, "bin/busybox"));
  for (const applet of applets) if (applet !== "busybox") symlinkSync("busybox", join(dir, "bin", applet));
  mkdirSync(join(dir, "etc"));
  mkdirSync(join(dir, "tmp"));
  chmodSync(join(dir, "tmp"), 0o1777);
  writeFileSync(join(dir, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/:/bin/sh\n");
  writeFileSync(join(dir, "etc/group"), "root:x:0:\nweb:x:33:\n");
}

/** `runtime`: the name of an OCI runtime, for the driver that uses one. */
export function openBench(userNamespace = false, runtime?: string): Bench {
  requireSandbox();
  const dir = mkdtempSync(join(tmpdir(), "cooper-runtime-"));
  const base = join(dir, "base");
  const scratchDir = join(dir, "scratch");
  mkdirSync(scratchDir);
  busyboxRoot(base);
  const options = { childPath, scratchDir, userNamespace };
  const sandbox =
    runtime === undefined
      ? openSandbox(options)
      : openOciSandbox({ ...options, runtime: findRuntime(runtime) });
  let made = 0;
  const fresh = (kind: string): string => {
    made += 1;
    const path = join(dir, `${kind}-${made}`);
    mkdirSync(path);
    return path;
  };
  const bench: Bench = {
    dir,
    base,
    sandbox,
    layer: () => fresh("layer"),
    plan: (argv, { lowerDirs, ...changes } = {}) => ({
      rootfs: {
        kind: "overlay",
        lowerDirs: lowerDirs ?? [base],
        upperDir: fresh("upper"),
        workDir: fresh("work"),
      },
      argv,
      env: { PATH },
      cwd: "/",
      uid: 0,
      gid: 0,
      groups: [],
      hostname: "bench",
      network: "none",
      mounts: [],
      devices: [],
      security: DEFAULT_SECURITY,
      limits: DEFAULT_LIMITS,
      stdin: "null",
      stdio: "pipe",
      ...changes,
    }),
    run: async (argv, changes, signal = new AbortController().signal) => {
      const plan = bench.plan(argv, changes);
      const chunks: Record<"stdout" | "stderr", Uint8Array[]> = { stdout: [], stderr: [] };
      const status = await sandbox.run(plan, {
        signal,
        onOutput: (stream, chunk) => void chunks[stream].push(chunk),
      });
      const text = (stream: "stdout" | "stderr"): string => Buffer.concat(chunks[stream]).toString("utf8");
      if (plan.rootfs.kind !== "overlay") throw new Error("a plan without an upper directory");
      const { upperDir } = plan.rootfs;
      const upper = readdirSync(upperDir, { recursive: true, encoding: "utf8" }).toSorted();
      return { status, stdout: text("stdout"), stderr: text("stderr"), upper, upperDir };
    },
    sh: (script, changes) => bench.run(["/bin/sh", "-c", script], changes),
    [Symbol.asyncDispose]: async () => {
      await sandbox[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return bench;
}

/** For tests that bring their own machine code. */
export const testX64 = (name: string, body: () => Promise<void>): void => {
  if (process.arch === "x64") test(name, body);
  else test.skip(`${name} (the test's machine code is x86-64)`, body);
};

/** Bundles a program that may import from `./src/`, so that it can run (and be killed) as a process of its own. */
export async function bundleProgram(dir: string, contents: string): Promise<string> {
  const outfile = join(dir, "program.mjs");
  copyModules(dir);
  await build({
    stdin: { contents, resolveDir: process.cwd() },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    external: ["koffi"],
    outfile,
    logLevel: "error",
  });
  return outfile;
}

/** The default security with these capabilities instead of the default ones. */
export const withCapabilities = (...capabilities: readonly string[]): SandboxSecurity => ({
  ...DEFAULT_SECURITY,
  capabilities,
});

export const exited = (code: number): ExitStatus => ({ kind: "exited", code });

/**
 * A static x86-64 program that makes one system call and exits with its errno (0 when it worked). Arguments are numbers.
 * So a filter is tried by the kernel itself, without a compiler.
 */
export function syscallProgram(number: number, args: readonly number[] = []): Buffer {
  const moves = [0xbf, 0xbe, 0xba]; // mov edi, esi, edx
  const code: number[] = [];
  const immediate = (value: number): number[] => [...Buffer.from(Uint32Array.from([value]).buffer)];
  for (const [index, opcode] of moves.entries()) code.push(opcode, ...immediate(args[index] ?? 0));
  code.push(0x41, 0xba, ...immediate(args[3] ?? 0)); // mov r10d
  code.push(0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9); // xor r8d, r9d
  code.push(0xb8, ...immediate(number), 0x0f, 0x05); // mov eax; syscall
  // Negative results are errnos, anything else is success.
  code.push(0x31, 0xff, 0x48, 0x85, 0xc0, 0x79, 0x04, 0x89, 0xc7, 0xf7, 0xdf); // xor edi,edi; test rax; jns +4; mov edi,eax; neg edi
  code.push(0xb8, ...immediate(60), 0x0f, 0x05);
  return elf(Buffer.from(code));
}

/** The same by the 32-bit gate `int 0x80`, from a 64-bit program. */
export function syscall32Program(number: number, args: readonly number[] = []): Buffer {
  const immediate = (value: number): number[] => [...Buffer.from(Uint32Array.from([value]).buffer)];
  const code = [
    0xbb,
    ...immediate(args[0] ?? 0),
    0xb9,
    ...immediate(args[1] ?? 0),
    0xba,
    ...immediate(args[2] ?? 0),
  ];
  code.push(0xb8, ...immediate(number), 0xcd, 0x80);
  code.push(0x31, 0xff, 0x85, 0xc0, 0x79, 0x04, 0x89, 0xc7, 0xf7, 0xdf);
  code.push(0xb8, ...immediate(60), 0x0f, 0x05);
  return elf(Buffer.from(code));
}

function elf(code: Buffer): Buffer {
  const header = Buffer.alloc(120);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(0x400078n, 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(1, 64);
  header.writeUInt32LE(5, 68);
  header.writeBigUInt64LE(0x400000n, 80);
  header.writeBigUInt64LE(0x400000n, 88);
  header.writeBigUInt64LE(BigInt(120 + code.length), 96);
  header.writeBigUInt64LE(BigInt(120 + code.length), 104);
  header.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([header, code]);
}

/**
 * Runs something that mounts ten times in a place which others swap meanwhile, until 1,000 mounts were tried for certain: all
 * ten where it ran, but only one where it was refused. How often it was each; any other failure is thrown.
 */
export async function attemptThousand(
  run: () => Promise<unknown>,
): Promise<readonly [ran: number, refused: number]> {
  let [ran, refused] = [0, 0];
  while (ran * 10 + refused < 1000) {
    try {
      await run();
      ran += 1;
    } catch (error) {
      if (!hasCode(error, "sandbox")) throw error;
      refused += 1;
    }
  }
  return [ran, refused];
}
