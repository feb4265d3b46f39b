// Writes src/runtime/system-calls.ts from the kernel's headers (Debian: linux-libc-dev, and a C compiler to read them).
// Headers may be older than the kernels that cooper meets: NEWER are the calls that came after Linux 6.1, which have the
// same number on every architecture.
//
//     node scripts/system-calls.mjs > src/runtime/system-calls.ts
import { execFileSync } from "node:child_process";

const NEWER =
  "cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr " +
  "lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat";
const FIRST_NEWER = 451;
const EXTRA = { X64: { uretprobe: 335 } };

/** What <asm/unistd.h> of an architecture includes, and what it defines before. */
const HEADERS = {
  X64: "#include <asm/unistd_64.h>",
  I386: "#include <asm/unistd_32.h>",
  ARM64: [
    "#define __ARCH_WANT_RENAMEAT",
    "#define __ARCH_WANT_NEW_STAT",
    "#define __ARCH_WANT_SET_GET_RLIMIT",
    "#define __ARCH_WANT_TIME32_SYSCALLS",
    "#define __ARCH_WANT_SYS_CLONE3",
    "#define __ARCH_WANT_MEMFD_SECRET",
    "#include <asm-generic/unistd.h>",
  ].join("\n"),
};

function numbersOf(arch) {
  const text = execFileSync("cc", ["-E", "-dM", "-"], { input: HEADERS[arch], encoding: "utf8" });
  const defined = new Map(
    [...text.matchAll(/^#define (__NR\w*) (.*)$/gm)].map(([, name, value]) => [name, value]),
  );
  const valueOf = (text) => (/^\d+$/.test(text) ? Number(text) : valueOf(defined.get(text) ?? "NaN0"));
  const found = new Map();
  for (const [name, value] of defined) {
    const call = /^__NR_(?!syscalls$|arch_specific_syscall$)(\w+)$/.exec(name)?.[1];
    if (call !== undefined && /^(?:\d+|__NR\w+)$/.test(value)) found.set(call, valueOf(value));
  }
  for (const [name, number] of Object.entries(EXTRA[arch] ?? {})) found.set(name, number);
  NEWER.split(" ").forEach((name, index) => found.set(name, FIRST_NEWER + index));
  return [...found].sort(([, a], [, b]) => a - b);
}

/** Names in the order of their numbers; a number stands where one or more are left out. */
function compact(calls) {
  const words = [];
  let next = 0;
  for (const [name, number] of calls) {
    if (number < next) continue;
    if (number !== next) words.push(String(number));
    words.push(name);
    next = number + 1;
  }
  return words;
}

function literal(words) {
  const lines = [];
  let line = "";
  for (const word of words) {
    if (line.length + word.length > 105) {
      lines.push(line);
      line = "";
    }
    line += `${word} `;
  }
  lines.push(line.trimEnd());
  return lines.map((text) => `  ${JSON.stringify(text)}`).join(" +\n");
}

process.stdout.write(`/**
 * The names of Linux's system calls in the order of their numbers; a number stands where some are left out. Made by
 * scripts/system-calls.mjs from the kernel's own headers.
 */
${Object.keys(HEADERS)
  .map((arch) => `const ${arch} =\n${literal(compact(numbersOf(arch)))};`)
  .join("\n\n")}

const TABLES = { x64: X64, arm64: ARM64, i386: I386 };

/** Numbers by name, for 64-bit x86 and Arm, and for 32-bit programs on x86. */
export function systemCalls(arch: keyof typeof TABLES): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  let next = 0;
  for (const word of TABLES[arch].split(" ")) {
    if (/^\\d/.test(word)) next = Number(word);
    else numbers.set(word, next++);
  }
  return numbers;
}
`);
