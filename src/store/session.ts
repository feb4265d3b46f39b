import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import {
  claimOwner,
  leaseHolder,
  ownerIsAliveAsync,
  pidOf,
  releaseDead,
  sleepSync,
  monotonicMs,
} from "../fs/index.js";
import type { Owner } from "../fs/index.js";
import { BALLAST, dropBallast, loadBallast } from "./ballast.js";
import type { StorePaths } from "./paths.js";

/** `layer <hex>`, `blob <hex>` or `image <hex>`: what a session can hold. */
export type Item = `${"layer" | "blob" | "image"} ${string}`;

/**
 * What one open store uses, told to every other process by a file in `locks/`, so that nobody's removal takes it away.
 * "+item" and "-item" lines are only ever appended; the file goes when the store is closed, or its owner is found dead.
 *
 * The rule that makes this safe without a lock for those who only use things: we write our line, then wait while a
 * removal is going on, then look whether the thing is there. A removal announces itself, then reads the lines, then
 * looks at names and records, then removes. So one of the two always sees the other.
 */
export interface Session {
  readonly owner: Owner;
  /** Holds things until the store is closed. `fresh`: made just now, and nothing points to it yet. Waits for a removal; throws `in-use` after 10 s. */
  hold(items: readonly Item[], fresh: boolean): void;
  /** Something points to them now: our own removals may judge them by that. */
  settle(items: readonly Item[]): void;
  /** Holds things until the function that is returned is called; also against our own removals. */
  lease(items: readonly Item[]): () => void;
  /** What our own removals must keep. */
  kept(): ReadonlySet<Item>;
  close(): void;
}

interface Use {
  leases: number;
  fresh: boolean;
  /** Stays in the file until the end. */
  held: boolean;
}

const SUFFIX = ".uses";
/** How long others wait for a removal, which takes milliseconds, before they think that it hangs. */
const PATIENCE_MS = 10_000;

/** Where the lease of whoever removes is. */
export function removalLease(paths: StorePaths): string {
  return join(paths.locks, "removal");
}

/** Opens a session; makes no file before something is held. */
export function openSession(paths: StorePaths): Session {
  const owner = claimOwner(paths.locks);
  const file = (): string => join(paths.locks, `${owner.token}${SUFFIX}`);
  const uses = new Map<Item, Use>();
  let fd: number | undefined;

  let isBallastOff = false;
  const write = (lines: readonly string[]): void => {
    fd ??= openSync(file(), "ax", 0o600);
    // The newline in front ends what a full disk cut off before.
    const text = `\n${lines.join("\n")}\n`;
    if (writeSync(fd, text) < text.length) throw Object.assign(new Error("short write"), { code: "ENOSPC" });
  };
  const append = (lines: readonly string[]): void => {
    if (lines.length === 0) return;
    try {
      try {
        write(lines);
      } catch (error) {
        // Images can be read, too, when the disk is full.
        if (isBallastOff || errnoOf(error) !== "ENOSPC") throw error;
        isBallastOff = true;
        dropBallast(paths);
        write(lines);
      }
    } catch (error) {
      // Where nobody can write, nobody can remove either.
      if (errnoOf(error) !== "EROFS") throw ioError("write", file(), error);
    }
  };
  const begin = (items: readonly Item[], change: (use: Use) => void): void => {
    const unheard = [...new Set(items)].filter((item) => !uses.has(item));
    if (unheard.length > 0) {
      append(unheard.map((item) => `+${item}`));
      waitForRemoval(paths);
      for (const item of unheard) uses.set(item, { leases: 0, fresh: false, held: false });
    }
    for (const item of items) {
      const use = uses.get(item);
      if (use) change(use);
    }
  };
  const end = (items: readonly Item[]): void => {
    const unused: Item[] = [];
    for (const item of items) {
      const use = uses.get(item);
      if (!use) continue;
      use.leases -= 1;
      if (use.leases > 0 || use.held) continue;
      uses.delete(item);
      unused.push(item);
    }
    append(unused.map((item) => `-${item}`));
  };
  return {
    owner,
    hold: (items, fresh) =>
      begin(items, (use) => {
        use.held = true;
        use.fresh ||= fresh;
      }),
    settle: (items) => {
      for (const item of items) {
        const use = uses.get(item);
        if (use) use.fresh = false;
      }
    },
    lease: (items) => {
      begin(items, (use) => (use.leases += 1));
      let isHeld = true;
      return () => {
        if (isHeld) end(items);
        isHeld = false;
      };
    },
    kept: () => new Set([...uses].filter(([, use]) => use.leases > 0 || use.fresh).map(([item]) => item)),
    close: () => {
      if (fd !== undefined) {
        closeSync(fd);
        fd = undefined;
        unlinkSync(file());
      }
      if (isBallastOff) loadBallast(paths);
      owner.dispose();
    },
  };
}

/** Blocks while another process removes images; it does so for moments. Throws `in-use` when that takes too long. */
function waitForRemoval(paths: StorePaths): void {
  const path = removalLease(paths);
  const started = monotonicMs();
  for (
    let pause = 1;
    statSync(path, { throwIfNoEntry: false }) !== undefined;
    pause = Math.min(2 * pause, 50)
  ) {
    if (releaseDead(path, paths.locks)) return;
    if (monotonicMs() - started > PATIENCE_MS) {
      const holder = leaseHolder(path);
      throw new CooperError(
        "in-use",
        `the store is held by process ${holder ? pidOf(holder) : "?"}, which removes images and does not get on`,
        {
          hint: "wait for it, or end it if it hangs (a stopped process still holds what it held)",
        },
      );
    }
    sleepSync(pause);
  }
}

/** Files of sessions whose owner is dead; to be asked before the removal's lease is taken, since an answer may take time. */
export async function deadSessions(paths: StorePaths): Promise<readonly string[]> {
  const dead: string[] = [];
  for (const name of sessionFiles(paths)) {
    const path = join(paths.locks, name);
    if (!(await ownerIsAliveAsync(name.slice(0, -SUFFIX.length), paths.locks, path))) dead.push(path);
  }
  return dead;
}

/** What all sessions hold, but for those that are `dead` and `own`, which answers for itself. */
export function heldByAll(paths: StorePaths, dead: readonly string[], own: Session): ReadonlySet<Item> {
  const held = new Set(own.kept());
  for (const name of sessionFiles(paths)) {
    const path = join(paths.locks, name);
    if (dead.includes(path) || name === `${own.owner.token}${SUFFIX}`) continue;
    for (const item of itemsIn(path)) held.add(item);
  }
  return held;
}

/** Removes what dead owners left in `locks/`: their files, sockets and leases. */
export async function forgetDead(paths: StorePaths): Promise<void> {
  for (const entry of readdirSync(paths.locks, { withFileTypes: true })) {
    const path = join(paths.locks, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== BALLAST && releaseDead(path, paths.locks)) removeEmpty(path);
      continue;
    }
    const token = /^(.+)\.(?:uses|sock)$/.exec(entry.name)?.[1];
    if (token === undefined || (await ownerIsAliveAsync(token, paths.locks, path))) continue;
    ignoring(["ENOENT"], () => unlinkSync(path));
  }
}

/** A lease that nobody holds is an empty directory, or none. */
function removeEmpty(path: string): void {
  ignoring(["ENOENT", "ENOTEMPTY", "EEXIST"], () => rmdirSync(path));
}

function sessionFiles(paths: StorePaths): readonly string[] {
  return readdirSync(paths.locks).filter((name) => name.endsWith(SUFFIX));
}

function itemsIn(path: string): ReadonlySet<Item> {
  const items = new Set<Item>();
  const text = ignoring(["ENOENT"], () => readFileSync(path, "latin1")) ?? "";
  // What follows the last newline is being written; its writer has not gone on yet.
  for (const line of text.split("\n").slice(0, -1)) {
    if (line.startsWith("+")) items.add(line.slice(1) as Item);
    else items.delete(line.slice(1) as Item);
  }
  return items;
}

function ignoring<T>(errnos: readonly string[], step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (errnos.includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}
