import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CooperError, errnoOf, ioError } from "../errors.js";
import { acquireLeaseAsync, makeDirectories, ownerIsAliveAsync, stagedDirectory } from "../fs/index.js";
import type { StagedDirectory } from "../fs/index.js";
import type { StoreGround } from "./ground.js";

/** A directory that RUNs keep things in from build to build. */
export interface CacheMountRequest {
  /** What `cacheMountName` made. */
  readonly name: string;
  /**
   * `shared`: by any number of RUNs at a time. `private`: whoever comes second gets another directory. `locked`: whoever
   * comes second waits.
   */
  readonly sharing: "shared" | "private" | "locked";
  /** Of a new directory; default 0755, or what `fill` gives it. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Writes what a new one begins with. */
  readonly fill?: (dir: string) => Promise<void>;
}

/** A cache that a RUN uses; others see that until this is disposed, or its process has died. */
export interface TakenCache extends AsyncDisposable {
  /** Absolute path. */
  readonly dir: string;
}

const NAME = /^[0-9a-f]{64}$/;
/** How long to wait before looking again whether a cache is free, ms. */
const POLL_MS = 50;
/** How long somebody may take to look into a cache's list of users, ms. */
const PATIENCE_MS = 60_000;

/** The name of a cache on the disk: of an id only a digest gets there (hazard C02). */
export function cacheMountName(identity: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

/**
 * Takes a cache, making it when there is none. `<root>/cache/mounts/<name>/<number>/` is one directory of it: `tree` is what
 * the RUNs see, `users` has a file for each that uses it, named after its owner; files of the dead count for nothing, so
 * whatever ends us frees what we used. Throws `aborted`, `in-use`, `io`, `no-space`, and what `fill` throws.
 */
export async function takeCache(
  ground: StoreGround,
  request: CacheMountRequest,
  signal: AbortSignal,
): Promise<TakenCache> {
  if (!NAME.test(request.name)) throw new Error(`no name of a cache: ${request.name}`);
  const home = join(ground.paths.cache, "mounts", request.name);
  makeDirectories(home, 0o700);
  let fresh: StagedDirectory | undefined;
  try {
    for (;;) {
      const choice = await choose(ground, home, request, fresh, signal);
      if (typeof choice === "object") return choice;
      if (choice === "make") fresh = await makeFresh(ground, request);
      else await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    await fresh?.[Symbol.asyncDispose]();
  }
}

/** One look, during which nobody else looks: a cache, or that one must be made first, or that it is to be waited for. */
async function choose(
  ground: StoreGround,
  home: string,
  { sharing }: CacheMountRequest,
  fresh: StagedDirectory | undefined,
  signal: AbortSignal,
): Promise<TakenCache | "make" | "wait"> {
  const { owner } = ground.session;
  owner.announce();
  using _lease = await acquireLeaseAsync(
    join(home, "lease"),
    {
      owner,
      socketDir: ground.paths.locks,
      tempDir: ground.paths.tmp,
      waitMs: PATIENCE_MS,
      what: "the list of a cache mount's users",
    },
    signal,
  );
  const numbers = readdirSync(home)
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .toSorted((a, b) => a - b);
  for (const number of numbers) {
    const users = await livingUsers(ground, join(home, String(number), "users"));
    const isFree = sharing === "shared" ? !users.includes("alone") : users.length === 0;
    if (isFree) return use(ground, join(home, String(number)), sharing);
    // Those that wait for each other wait for the same one.
    if (sharing === "locked") return "wait";
  }
  if (!fresh) return "make";
  const place = join(home, String((numbers.at(-1) ?? -1) + 1));
  try {
    renameSync(join(fresh.path, "cache"), place);
  } catch (error) {
    throw ioError("make", place, error);
  }
  return use(ground, place, sharing);
}

type Kind = "shared" | "alone";

/** Removes the files of the dead. */
async function livingUsers({ paths }: StoreGround, dir: string): Promise<readonly Kind[]> {
  const living: Kind[] = [];
  for (const name of readdirSync(dir)) {
    const [, token = "", kind = ""] = /^(.+)-\d+-(shared|alone)$/.exec(name) ?? [];
    const path = join(dir, name);
    if (await ownerIsAliveAsync(token, paths.locks, path))
      living.push(kind === "shared" ? "shared" : "alone");
    else rmSync(path, { force: true });
  }
  return living;
}

let uses = 0;

function use({ session }: StoreGround, place: string, sharing: CacheMountRequest["sharing"]): TakenCache {
  uses += 1;
  const kind: Kind = sharing === "shared" ? "shared" : "alone";
  const file = join(place, "users", `${session.owner.token}-${uses}-${kind}`);
  try {
    writeFileSync(file, "", { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw ioError("write", file, error);
  }
  return {
    dir: join(place, "tree"),
    [Symbol.asyncDispose]: () => {
      rmSync(file, { force: true });
      return Promise.resolve();
    },
  };
}

/** Elsewhere, so that a cache is there whole or not at all. */
async function makeFresh(
  { paths, session }: StoreGround,
  { fill, mode, uid, gid }: CacheMountRequest,
): Promise<StagedDirectory> {
  const staged = stagedDirectory(paths.tmp, session.owner);
  const tree = join(staged.path, "cache/tree");
  try {
    for (const dir of ["cache", "cache/users", "cache/tree"])
      mkdirSync(join(staged.path, dir), { mode: 0o700 });
    await fill?.(tree);
    if (fill === undefined || uid !== undefined || gid !== undefined) giveTo(tree, uid ?? 0, gid ?? 0);
    if (fill === undefined || mode !== undefined) chmodSync(tree, mode ?? 0o755);
    return staged;
  } catch (error) {
    await staged[Symbol.asyncDispose]();
    throw ioError("make", tree, error);
  }
}

function giveTo(dir: string, uid: number, gid: number): void {
  try {
    chownSync(dir, uid, gid);
  } catch (error) {
    if (errnoOf(error) !== "EINVAL") throw error;
    throw new CooperError("sandbox", `cannot give a cache to ${uid}:${gid}: these ids are not mapped here`, {
      hint: "give the user a range of subordinate ids in /etc/subuid and /etc/subgid (usermod --add-subuids)",
    });
  }
}
