import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { describe, test } from "vitest";
import { programPath } from "./programs.js";

export { programPath } from "./programs.js";

/**
 * What a test needs from the machine: a program (a key of packages.json), or one of
 * `root` (effective user id 0), `mounts` (a private mount namespace with a tmpfs in it works),
 * `tun` (/dev/net/tun can be opened), `apt` (the machine has apt sources to make a Debian base from).
 */
export type Need = string;

const packages: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL("packages.json", import.meta.url), "utf8"),
) as Record<string, string>;

function succeeds(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const conditions: Readonly<Record<string, { readonly met: () => boolean; readonly wanted: string }>> = {
  root: { met: () => process.geteuid?.() === 0, wanted: "the root user" },
  mounts: {
    met: () => succeeds("unshare", ["--mount", "sh", "-c", "mount -t tmpfs none /mnt"]),
    wanted: "the right to mount (CAP_SYS_ADMIN)",
  },
  tun: { met: () => succeeds("sh", ["-c", ": <> /dev/net/tun"]), wanted: "/dev/net/tun" },
  apt: { met: () => existsSync("/usr/bin/apt-get"), wanted: "a Debian machine with apt sources" },
};

/** The needs that this machine does not meet, each as a phrase a reader can act on; [] when all are met. */
export function unmet(needs: readonly Need[]): readonly string[] {
  return needs.flatMap((need) => {
    const condition = conditions[need];
    if (condition !== undefined) return condition.met() ? [] : [condition.wanted];
    const name = packages[need];
    if (name === undefined) throw new Error(`test/support/packages.json does not know ${need}`);
    return programPath(need) === undefined ? [`${need} (Debian package ${name})`] : [];
  });
}

/** The title as it is shown: with what is missing, said aloud at once, where something is. */
function announced(title: string, wanted: readonly string[]): string {
  if (wanted.length === 0) return title;
  const full = `${title} (not run: this machine lacks ${wanted.join(", ")})`;
  process.stderr.write(`NOT RUN: ${full}\n`);
  return full;
}

/** `describe`, for tests that need programs or rights: where some are missing, says so aloud and in the title, and skips. */
export function describeWith(needs: readonly Need[], title: string, body: () => void): void {
  const wanted = unmet(needs);
  describe.skipIf(wanted.length > 0)(announced(title, wanted), body);
}

/** `test`, in the same way. `timeout` in ms. */
export function testWith(
  needs: readonly Need[],
  title: string,
  body: () => Promise<void> | void,
  timeout?: number,
): void {
  const wanted = unmet(needs);
  test.skipIf(wanted.length > 0)(announced(title, wanted), body, timeout);
}
