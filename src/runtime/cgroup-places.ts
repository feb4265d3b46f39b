/** A cgroup that cooper itself is in, as a directory. */
export interface CgroupPlace {
  readonly dir: string;
  /** The directory of its hierarchy that lies highest here. */
  readonly top: string;
}

/** Where cgroups can be made: the old hierarchies by controller, and the new one. */
export interface CgroupPlaces {
  readonly v1: ReadonlyMap<string, CgroupPlace>;
  readonly v2: CgroupPlace | undefined;
}

/**
 * Reads /proc/self/mountinfo and /proc/self/cgroup. A hierarchy that is not mounted is left out, and so is one whose mount
 * does not show our own cgroup (inside a container with the host's tree half hidden). Source: cgroups(7), proc(5).
 */
export function cgroupPlaces(mountinfo: string, selfCgroup: string): CgroupPlaces {
  const mounts = mountinfo.split("\n").flatMap(parseMount);
  const v1 = new Map<string, CgroupPlace>();
  let v2: CgroupPlace | undefined;
  for (const line of selfCgroup.split("\n")) {
    const [, id, names = "", path = ""] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (id === undefined) continue;
    if (names === "" && id === "0") {
      v2 = placeIn(
        mounts.filter(({ type }) => type === "cgroup2"),
        path,
      );
      continue;
    }
    for (const name of names.split(",")) {
      const place = placeIn(
        mounts.filter(({ type, options }) => type === "cgroup" && options.includes(name)),
        path,
      );
      if (place) v1.set(name, place);
    }
  }
  return { v1, v2 };
}

interface CgroupMount {
  readonly type: string;
  /** The cgroup that the mount shows, as /proc/self/cgroup would name it. */
  readonly root: string;
  readonly dir: string;
  readonly options: readonly string[];
}

function parseMount(line: string): readonly CgroupMount[] {
  const [before = "", after = ""] = line.split(" - ");
  const [, , , root = "", dir = ""] = before.split(" ");
  const [type = "", , options = ""] = after.split(" ");
  if (type !== "cgroup" && type !== "cgroup2") return [];
  return [{ type, root: unescape(root), dir: unescape(dir), options: options.split(",") }];
}

/** The kernel writes space, tab, newline and backslash in octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function placeIn(mounts: readonly CgroupMount[], path: string): CgroupPlace | undefined {
  for (const { root, dir } of mounts) {
    const below =
      root === "/" ? path : path === root ? "/" : path.startsWith(`${root}/`) && path.slice(root.length);
    // "/.." is a cgroup outside of our cgroup namespace.
    if (below === false || below.split("/").includes("..")) continue;
    return { dir: below === "/" ? dir : `${dir}${below}`, top: dir };
  }
  return undefined;
}
