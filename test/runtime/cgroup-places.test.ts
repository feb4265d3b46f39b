import { describe, expect, test } from "vitest";
import { explained } from "../../src/runtime/cgroup.js";
import { cgroupParent, cgroupRefusal } from "../../src/runtime/cgroup-parent.js";
import type { CgroupFiles } from "../../src/runtime/cgroup-parent.js";
import { makeCgroup, removeCgroup } from "../../src/runtime/cgroup-make.js";
import { cgroupPlaces } from "../../src/runtime/cgroup-places.js";
import { settingsFor } from "../../src/runtime/cgroup-settings.js";
import { DEFAULT_LIMITS } from "../../src/runtime/index.js";

/** Lines as machines of each kind show them, less what has nothing to do with cgroups. */
describe("where cgroups can be made", () => {
  test("systemd with the new hierarchy", () => {
    const mountinfo =
      "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n" +
      "31 25 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const path = "/user.slice/user-1000.slice/user@1000.service/app.slice/vte.scope";
    expect(cgroupPlaces(mountinfo, `0::${path}\n`)).toEqual({
      v1: new Map(),
      v2: { dir: `/sys/fs/cgroup${path}`, top: "/sys/fs/cgroup" },
    });
  });

  test("a container with the new hierarchy and a cgroup namespace", () => {
    const mountinfo =
      "628 627 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n";
    expect(cgroupPlaces(mountinfo, "0::/\n").v2).toEqual({ dir: "/sys/fs/cgroup", top: "/sys/fs/cgroup" });
  });

  test("a container that shows only its own part", () => {
    const id = "/docker/4f1c";
    const mountinfo =
      `700 699 0:30 ${id} /sys/fs/cgroup/memory ro,nosuid master:13 - cgroup cgroup rw,memory\n` +
      `701 699 0:31 ${id} /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:14 - cgroup cgroup rw,cpu,cpuacct\n`;
    const places = cgroupPlaces(
      mountinfo,
      `5:memory:${id}\n4:cpu,cpuacct:${id}/inner\n3:pids:${id}\n0::/system.slice\n`,
    );
    expect(places.v1).toEqual(
      new Map([
        ["memory", { dir: "/sys/fs/cgroup/memory", top: "/sys/fs/cgroup/memory" }],
        ["cpu", { dir: "/sys/fs/cgroup/cpu,cpuacct/inner", top: "/sys/fs/cgroup/cpu,cpuacct" }],
        ["cpuacct", { dir: "/sys/fs/cgroup/cpu,cpuacct/inner", top: "/sys/fs/cgroup/cpu,cpuacct" }],
      ]),
    );
    expect(places.v2).toBeUndefined();
  });

  test("the hybrid of systemd and of WSL: the old controllers, and a tree beside them", () => {
    const mountinfo =
      "32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n" +
      "33 31 0:30 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd\n" +
      "38 31 0:35 / /sys/fs/cgroup/pids rw,nosuid shared:16 - cgroup cgroup rw,pids\n" +
      "39 31 0:36 / /mnt/a\\040b rw shared:17 - cgroup cgroup rw,memory\n";
    const own = "9:name=systemd:/user.slice\n8:pids:/user.slice/x\n4:memory:/\n0::/user.slice\n";
    const { v1, v2 } = cgroupPlaces(mountinfo, own);
    expect(v1.get("pids")?.dir).toBe("/sys/fs/cgroup/pids/user.slice/x");
    expect(v1.get("memory")?.dir).toBe("/mnt/a b");
    expect(v2?.dir).toBe("/sys/fs/cgroup/unified/user.slice");
  });

  test("nothing is mounted, or it is the tree of somebody else", () => {
    expect(cgroupPlaces("", "0::/x\n")).toEqual({ v1: new Map(), v2: undefined });
    const elsewhere = "31 25 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    expect(cgroupPlaces(elsewhere, "0::/docker/12\n").v2).toBeUndefined();
    const outside = "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    expect(cgroupPlaces(outside, "0::/../other\n").v2).toBeUndefined();
  });
});

interface FakeGroup {
  readonly controllers: string;
  enabled: string;
  pids: readonly string[];
  readonly writable?: boolean;
  /** What was written to others of its files. */
  files?: Record<string, string>;
  /** The true root of the hierarchy may hold processes and controllers at once. */
  readonly isRoot?: boolean;
}

const THREADED = ["cpu", "cpuset", "pids"];
const failed = (path: string, code: string): Error => Object.assign(new Error(`${path}: ${code}`), { code });

/**
 * A tree that follows the kernel's rules for the new hierarchy, as seen on Linux 6.1: controllers of THREADED can be
 * switched on beside processes, after which children are for threads only; nothing is switched off that a child shares out.
 */
function fakeTree(groups: Record<string, FakeGroup>): CgroupFiles {
  const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));
  const split = (path: string): readonly [FakeGroup, string] => {
    const group = groups[parentOf(path)];
    if (!group) throw failed(path, "ENOENT");
    return [group, path.slice(path.lastIndexOf("/") + 1)];
  };
  const typeOf = (dir: string): string => {
    const group = groups[dir];
    const above = groups[parentOf(dir)];
    if (above && above.isRoot !== true && typeOf(parentOf(dir)) !== "domain") return "domain invalid";
    const threads = THREADED.some((name) => group?.enabled.split(" ").includes(name));
    return threads && group?.pids.length !== 0 ? "domain threaded" : "domain";
  };
  const switchController = (path: string, sign: string, name: string): void => {
    const [group] = split(path);
    const others = group.enabled.split(" ").filter((one) => one !== name && one !== "");
    const children = Object.keys(groups).filter((dir) => parentOf(dir) === parentOf(path));
    if (sign === "-") {
      if (children.some((dir) => groups[dir]?.enabled.split(" ").includes(name))) throw failed(path, "EBUSY");
      group.enabled = others.join(" ");
      return;
    }
    if (!group.controllers.split(" ").includes(name)) throw failed(path, "ENOENT");
    if (!THREADED.includes(name) && group.pids.length > 0 && group.isRoot !== true)
      throw failed(path, "EBUSY");
    group.enabled = [...others, name].join(" ");
  };
  return {
    read: (path) => {
      const [group, file] = split(path);
      if (file === "cgroup.type") return typeOf(parentOf(path));
      if (file === "cgroup.procs") return group.pids.join("\n");
      if (file === "cgroup.controllers")
        return groups[parentOf(parentOf(path))]?.enabled ?? group.controllers;
      return file === "cgroup.subtree_control" ? group.enabled : (group.files?.[file] ?? "");
    },
    write: (path, text) => {
      const [group, file] = split(path);
      if (file === "cgroup.subtree_control") {
        for (const word of text.split(" ")) switchController(path, word.slice(0, 1), word.slice(1));
      } else if (file === "cgroup.procs") {
        if (typeOf(parentOf(path)) === "domain invalid") throw failed(path, "ENOTSUP");
        for (const other of Object.values(groups)) other.pids = other.pids.filter((pid) => pid !== text);
        group.pids = [...group.pids, text];
      } else (group.files ??= {})[file] = text;
    },
    makeDirectory: (path) => {
      if (path in groups) throw failed(path, "EEXIST");
      groups[path] = { controllers: groups[parentOf(path)]?.enabled ?? "", enabled: "", pids: [] };
    },
    removeDirectory: (path) => {
      if (groups[path]?.pids.length !== 0) throw failed(path, "EBUSY");
      delete groups[path];
    },
    exists: (path) => path in groups || (path.endsWith("/cgroup.type") && split(path)[0].isRoot !== true),
    writeRefusal: (path) => ((groups[path] ?? split(path)[0]).writable === false ? "EACCES" : undefined),
  };
}

describe("the parent in the new hierarchy", () => {
  const all = "cpuset cpu io memory pids";

  test("root's shell on a systemd machine: the slice above the session", () => {
    const groups = {
      "/c": { controllers: all, enabled: all, pids: ["2"], isRoot: true },
      "/c/user.slice": { controllers: all, enabled: "pids", pids: [] },
      "/c/user.slice/s.scope": { controllers: "pids", enabled: "", pids: ["77"] },
    };
    const place = { dir: "/c/user.slice/s.scope", top: "/c" };
    expect(cgroupParent(place, ["pids"], fakeTree(groups))).toBe("/c/user.slice");
    expect(groups["/c/user.slice"].enabled).toBe("pids");
    expect(cgroupParent(place, ["memory", "pids"], fakeTree(groups))).toBe("/c/user.slice");
    expect(groups["/c/user.slice"].enabled).toBe("pids memory");
  });

  test.each(["cpu", "pids"])("%s alone: not the session, where the kernel would allow it", (name) => {
    const groups: Record<string, FakeGroup> = {
      "/c": { controllers: all, enabled: all, pids: ["2"], isRoot: true },
      "/c/user.slice": { controllers: all, enabled: all, pids: [] },
      "/c/user.slice/s.scope": { controllers: all, enabled: "", pids: ["77"] },
    };
    const files = fakeTree(groups);
    const parent = cgroupParent({ dir: "/c/user.slice/s.scope", top: "/c" }, [name], files);
    expect(parent).toBe("/c/user.slice");
    files.makeDirectory(`${parent}/new`);
    files.write(`${parent}/new/cgroup.procs`, "77");
    expect(groups["/c/user.slice/new"]?.pids).toEqual(["77"]);
    expect(groups["/c/user.slice/s.scope"]?.enabled).toBe("");
  });

  test("a cgroup whose children are for threads only, and nothing above", () => {
    const groups = { "/c": { controllers: "cpu pids", enabled: "pids", pids: ["1"] } };
    expect(() => cgroupParent({ dir: "/c", top: "/c" }, ["pids"], fakeTree(groups))).toThrow(
      '/c/cgroup.type, which is "domain threaded"',
    );
  });

  test("a user's service that systemd delegates: its processes move down", () => {
    const groups: Record<string, FakeGroup> = {
      "/c": { controllers: all, enabled: all, pids: [], writable: false, isRoot: true },
      "/c/x.service": { controllers: all, enabled: "", pids: ["5", "6"] },
    };
    const place = { dir: "/c/x.service", top: "/c" };
    expect(cgroupParent(place, ["memory", "pids"], fakeTree(groups))).toBe("/c/x.service");
    expect(groups["/c/x.service/init"]?.pids).toEqual(["5", "6"]);
  });

  test("processes that cannot be moved are told as what stands in the way", () => {
    const groups = { "/c": { controllers: "memory", enabled: "", pids: ["1"] } };
    const files = fakeTree(groups);
    const write = (path: string, text: string): void => {
      if (path.endsWith("/init/cgroup.procs")) throw failed(path, "EACCES");
      files.write(path, text);
    };
    const refused = (): unknown => cgroupParent({ dir: "/c", top: "/c" }, ["memory"], { ...files, write });
    expect(refused).toThrow("/c/init/cgroup.procs: EACCES");
  });

  test("a container that may only read its tree is told so", () => {
    const groups = { "/c": { controllers: all, enabled: "", pids: ["1"] } };
    const files = { ...fakeTree(groups), writeRefusal: () => "EROFS" };
    expect(() => cgroupParent({ dir: "/c", top: "/c" }, ["pids"], files)).toThrow("/c: EROFS");
  });

  test("the true root needs nothing moved", () => {
    const groups = { "/c": { controllers: all, enabled: "", pids: ["1", "2"], isRoot: true } };
    expect(cgroupParent({ dir: "/c", top: "/c" }, ["cpu"], fakeTree(groups))).toBe("/c");
    expect(groups["/c"]).toMatchObject({ enabled: "cpu", pids: ["1", "2"] });
  });

  test("a user's shell below the service that systemd delegates", () => {
    const groups = {
      "/c": { controllers: all, enabled: all, pids: [], writable: false, isRoot: true },
      "/c/u.service": { controllers: "memory pids", enabled: "memory pids", pids: [] },
      "/c/u.service/app.scope": { controllers: "memory pids", enabled: "", pids: ["5"] },
    };
    const place = { dir: "/c/u.service/app.scope", top: "/c" };
    expect(cgroupParent(place, ["memory", "pids"], fakeTree(groups))).toBe("/c/u.service");
    expect(() => cgroupParent(place, ["cpu"], fakeTree(groups))).toThrow("cgroup.controllers without cpu");
  });

  test("a user's session, which is not delegated", () => {
    const groups = {
      "/c": { controllers: all, enabled: all, pids: [], writable: false, isRoot: true },
      "/c/session.scope": { controllers: all, enabled: "", pids: ["5"], writable: false },
    };
    const place = { dir: "/c/session.scope", top: "/c" };
    expect(() => cgroupParent(place, ["pids"], fakeTree(groups))).toThrow("/c/session.scope: EACCES");
  });

  test("the top of a container: its processes move down, once", () => {
    const groups: Record<string, FakeGroup> = {
      "/c": { controllers: "memory pids", enabled: "", pids: ["1", "9"] },
    };
    const place = { dir: "/c", top: "/c" };
    expect(cgroupParent(place, ["memory"], fakeTree(groups))).toBe("/c");
    expect(groups["/c"]).toMatchObject({ pids: [], enabled: "memory" });
    expect(groups["/c/init"]?.pids).toEqual(["1", "9"]);
    expect(cgroupParent({ dir: "/c/init", top: "/c" }, ["memory"], fakeTree(groups))).toBe("/c");
  });
});

describe("a cgroup of ours in the new hierarchy", () => {
  const limits = { ...DEFAULT_LIMITS, memoryBytes: 1 << 20, memorySwapBytes: 1 << 20, cpus: 0.5 };
  const settings = settingsFor(limits, []).map((setting) => ({ ...setting, version: 2 as const }));

  test("keeps its limits when systemd switches off what none of its own units needs", () => {
    const groups: Record<string, FakeGroup> = {
      "/c": { controllers: "cpu memory pids", enabled: "cpu memory pids", pids: [] },
    };
    const files = fakeTree(groups);
    const { dir, leaf } = makeCgroup("/c/new", settings, files);
    files.write(`${leaf}/cgroup.procs`, "9");
    for (const name of ["cpu", "memory", "pids"])
      expect(() => files.write("/c/cgroup.subtree_control", `-${name}`)).toThrow("EBUSY");
    expect(groups[dir]?.files).toMatchObject({ "memory.max": "1048576", "cpu.max": "50000 100000" });
  });

  test("is gone with its leaf, and at once when it cannot be made", async () => {
    const groups: Record<string, FakeGroup> = {
      "/c": { controllers: "cpu memory pids", enabled: "cpu memory pids", pids: [] },
    };
    const files = fakeTree(groups);
    await removeCgroup(makeCgroup("/c/new", settings, files), files);
    expect(Object.keys(groups)).toEqual(["/c"]);
    const write = (path: string, text: string): void => {
      if (path.endsWith("/cpu.max")) throw failed(path, "EINVAL");
      files.write(path, text);
    };
    expect(() => makeCgroup("/c/new", settings, { ...files, write })).toThrow("/c/new/cpu.max: EINVAL");
    expect(Object.keys(groups)).toEqual(["/c"]);
  });
});

test("of several limits the one that is refused is told", () => {
  const limits = { ...DEFAULT_LIMITS, memoryBytes: 1 << 20, cpus: 0.5 };
  const refusal = cgroupRefusal("/c/x.service/cgroup.controllers without cpu", "absent");
  expect(explained(settingsFor(limits, []), refusal, true).message).toBe(
    "cannot limit the processors to 0.5: /c/x.service/cgroup.controllers without cpu: not there",
  );
});
