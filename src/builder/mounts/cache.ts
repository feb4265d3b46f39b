import { posix } from "node:path";
import { CooperError } from "../../errors.js";
import { resolvePath, cleanPath } from "../../fs/index.js";
import type { CacheMount } from "../../parser/index.js";
import type { CacheMountRequest, TakenCache } from "../../store/index.js";
import { cacheMountName } from "../../store/index.js";
import type { CopyOrigin } from "../copy/sources.js";
import type { BuildEngine } from "../engine.js";
import { commonOf, componentOf } from "./common.js";
import type { MountSite } from "./index.js";
import { subTree } from "./sub-tree.js";
import type { MountWork, OpenMount, PreparedMount } from "./types.js";

/**
 * A directory of the store that outlives builds. Which one is told by the id, the owner and mode, and what it began with;
 * what it holds is no part of a key. `source` is what a new one holds of `from`; without `from`, a path in the cache.
 */
export function prepareCache(
  mount: CacheMount,
  site: MountSite,
  origin: CopyOrigin | undefined,
): PreparedMount {
  const { source, mode, uid, gid } = mount;
  // Source: BuildKit, where the id is the target as written, unless it is told.
  const id = mount.id === mount.target ? posix.normalize(`${mount.id}/`).slice(0, -1) : mount.id;
  const start = origin === undefined ? [] : [origin.chain ?? "context", posix.resolve("/", source)];
  const owner = [mode ?? 0o755, uid ?? 0, gid ?? 0].map(String);
  const name = cacheMountName([id, ...owner, ...start]);
  return {
    components: [componentOf(mount, site, start)],
    cache: name,
    open: (work) => open(mount, site, origin, name, work),
  };
}

async function open(
  mount: CacheMount,
  site: MountSite,
  origin: CopyOrigin | undefined,
  name: string,
  { engine, caches }: MountWork,
): Promise<OpenMount> {
  const held = caches.get(name);
  // Where nothing may be mounted, what a cache holds is moved to its target: one RUN at a time.
  const isAlone = mount.sharing === "shared" && (await engine.sandbox()).driver === "chroot";
  const taking =
    held ??
    engine.store.takeCache(
      request(isAlone ? { ...mount, sharing: "locked" } : mount, origin, name, engine),
      engine.signal,
    );
  caches.set(name, taking);
  const taken = await taking;
  const inside = origin === undefined ? posix.resolve("/", mount.source) : "/";
  return {
    mounts: [
      {
        type: "bind",
        source: taken.dir,
        movable: true,
        ...(inside === "/" ? {} : { inside }),
        ...commonOf(mount, site),
      },
    ],
    env: {},
    [Symbol.asyncDispose]: () => (held ? Promise.resolve() : release(taken)),
  };
}

async function release(taken: TakenCache): Promise<void> {
  await taken[Symbol.asyncDispose]();
}

function request(
  { sharing, mode, uid, gid, source }: CacheMount,
  origin: CopyOrigin | undefined,
  name: string,
  engine: BuildEngine,
): CacheMountRequest {
  const owner = { ...(mode === undefined ? {} : { mode }), ...(uid === undefined ? {} : { uid }) };
  return {
    name,
    sharing,
    ...owner,
    ...(gid === undefined ? {} : { gid }),
    ...(origin === undefined ? {} : { fill: (dir: string) => fill(origin, source, dir, engine) }),
  };
}

async function fill(origin: CopyOrigin, source: string, dir: string, engine: BuildEngine): Promise<void> {
  const [{ writeTree }, { treeSyscalls }] = await Promise.all([
    import("../../archive/index.js"),
    import("../../runtime/index.js"),
  ]);
  const opened = await origin.open();
  try {
    const base = resolvePath(opened.tree, cleanPath(source), { followLast: true });
    if (opened.tree.lstat(base)?.type !== "dir")
      throw new CooperError("not-found", `RUN --mount: source "${source}" is no directory in ${opened.name}`);
    writeTree(subTree(opened, base), dir, treeSyscalls(), engine.signal);
  } finally {
    opened[Symbol.dispose]?.();
  }
}
