import { readdirSync, readFileSync } from "node:fs";

/** Processes with this text in their arguments, as pid and arguments. */
export function processesWith(text: string): readonly string[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && pid !== String(process.pid))
    .map((pid) => `${pid} ${argumentsOf(pid)}`)
    .filter((line) => line.includes(text));
}

function argumentsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
  } catch {
    return ""; // It has ended meanwhile.
  }
}
