import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";

export const SECRET = "the secret of the host";

/** A directory of the host that nothing may touch: `secret`, an empty `victim`, and a directory `held` with a file in it. */
export interface Canary extends Disposable {
  readonly dir: string;
  /** How a process climbs to the directory from any other of the host. */
  readonly climb: string;
  /** Fails when anything about the directory has changed since it was made. */
  untouched(): void;
}

/** A canary in `parent`, or in a temporary directory of its own that goes with it. */
export function openCanary(parent?: string): Canary {
  const own = parent === undefined ? mkdtempSync(join(tmpdir(), "cooper-canary-")) : undefined;
  const dir = join(parent ?? own ?? "", "host");
  mkdirSync(join(dir, "held"), { recursive: true });
  writeFileSync(join(dir, "secret"), SECRET);
  writeFileSync(join(dir, "victim"), "");
  writeFileSync(join(dir, "held/file"), "held");
  const before = stateOf(dir);
  return {
    dir,
    climb: `../../../../../../../../../../../..${dir}`,
    untouched: () => expect(stateOf(dir)).toEqual(before),
    [Symbol.dispose]: () => rmSync(own ?? dir, { recursive: true, force: true }),
  };
}

/** Names, types, owners, modes, modification times and contents below a directory. */
export function stateOf(dir: string): readonly string[] {
  return ["", ...readdirSync(dir, { recursive: true, encoding: "utf8" })].toSorted().map((name) => {
    const path = join(dir, name);
    const stat = lstatSync(path, { bigint: true });
    const content = stat.isFile() ? createHash("sha256").update(readFileSync(path)).digest("hex") : "";
    return [name, stat.mode, stat.uid, stat.gid, stat.nlink, stat.mtimeNs, content].join(" ");
  });
}
