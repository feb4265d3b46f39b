import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Platform } from "../image/index.js";
import { hostPlatform } from "../image/index.js";

const BINFMT = "/proc/sys/fs/binfmt_misc";

/** What a processor runs beside its own programs. */
const ALSO: Readonly<Record<string, readonly string[]>> = { amd64: ["386"], arm64: ["arm"] };

/** `e_machine` and byte order of an architecture's programs. Source: elf(5), linux/elf-em.h. */
const MACHINES: Readonly<Record<string, readonly [machine: number, order: "little" | "big"]>> = {
  "386": [3, "little"],
  amd64: [62, "little"],
  arm: [40, "little"],
  arm64: [183, "little"],
  loong64: [258, "little"],
  mips64le: [8, "little"],
  ppc64le: [21, "little"],
  riscv64: [243, "little"],
  s390x: [22, "big"],
};

/**
 * Whether this machine runs programs of a platform, by itself or through an interpreter of binfmt_misc. `directory` is
 * where the kernel lists those.
 */
export function canRun({ os, architecture }: Platform, directory = BINFMT): boolean {
  const host = hostPlatform();
  if (os !== host.os) return false;
  if (architecture === host.architecture || ALSO[host.architecture]?.includes(architecture)) return true;
  return handlers(directory).some((handler) => serves(handler, architecture));
}

/** Architectures whose programs only an interpreter runs here. */
export function emulated(directory = BINFMT): readonly string[] {
  const host = hostPlatform().architecture;
  const own = [host, ...(ALSO[host] ?? [])];
  const known = handlers(directory);
  return Object.keys(MACHINES).filter(
    (architecture) => !own.includes(architecture) && known.some((handler) => serves(handler, architecture)),
  );
}

/** Whether the kernel's list can be read at all. */
export function listsHandlers(directory = BINFMT): boolean {
  return existsSync(join(directory, "status"));
}

function handlers(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name !== "register" && name !== "status")
      .map((name) => readFileSync(join(directory, name), "utf8"));
  } catch {
    // Not mounted, or not for us to read: then it cannot be told, and nothing is promised.
    return [];
  }
}

/**
 * Whether an enabled handler takes the programs of an architecture, with the flag F: the interpreter was opened when the
 * handler was made, so it need not be in the image. Source: Linux Documentation/admin-guide/binfmt-misc.rst.
 */
function serves(handler: string, architecture: string): boolean {
  const wanted = MACHINES[architecture];
  const magic = Buffer.from(/^magic ([0-9a-f]+)$/m.exec(handler)?.[1] ?? "", "hex");
  const isElf = magic.length >= 20 && /^offset 0$/m.test(handler) && magic.toString("latin1", 1, 4) === "ELF";
  if (!wanted || !isElf || !/^enabled$/m.test(handler) || !/^flags: .*F/m.test(handler)) return false;
  const [machine, order] = wanted;
  const found = order === "little" ? magic.readUInt16LE(18) : magic.readUInt16BE(18);
  return found === machine && magic[5] === (order === "little" ? 1 : 2);
}
