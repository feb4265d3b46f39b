import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_SECURITY, ownUserNamespace, readXattrs } from "../../src/runtime/index.js";
import type { SandboxMount, SandboxPlan, SandboxRootfs } from "../../src/runtime/index.js";
import { claimIds } from "../../src/runtime/id-ranges.js";
import { containerRanges } from "../../src/runtime/subordinate-ids.js";
import { syscall } from "../../src/runtime/syscalls.js";
import type { Bench, Finished } from "./support.js";
import { exited, openBench, syscallProgram, testX64 } from "./support.js";

const SIZE = 65536;
const IDS = ownUserNamespace(SIZE);
const OWN = { ...DEFAULT_SECURITY, userNamespace: IDS };

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  await IDS[Symbol.asyncDispose]();
});

const sh = (
  script: string,
  changes: Partial<SandboxPlan> & { readonly lowerDirs?: readonly string[] } = {},
): Promise<Finished> => bench.sh(script, { security: OWN, ...changes });

function ownersOf(path: string): readonly [number, number] {
  const { uid, gid } = lstatSync(path);
  return [uid, gid];
}

/** What id 0 in there is on the machine. */
function outsideOf({ stdout }: Finished): number {
  const [, first, outside, count] = /^\s*(\d+)\s+(\d+)\s+(\d+)$/m.exec(stdout) ?? [];
  expect([first, count]).toEqual(["0", String(SIZE)]);
  return Number(outside);
}

describe("a process in a user namespace of its own", () => {
  test("is root inside and nobody outside, and all that it makes is stored as root's", async () => {
    const lower = bench.layer();
    for (const dir of ["gone", "again"]) mkdirSync(join(lower, dir));
    writeFileSync(join(lower, "gone/f"), "");
    chownSync(join(lower, "gone/f"), 5, 6);
    const script = `cat /proc/self/uid_map; stat -c '%u:%g' / /gone/f /proc/self/ /dev/null /dev/shm /tmp
      rm /gone/f; rmdir /again; mkdir /again; touch /new; chown 33:44 /new; chmod 4755 /new; mkfifo /again/pipe`;
    const ran = await sh(script, { lowerDirs: [lower, bench.base] });
    expect(ran).toMatchObject({ status: exited(0), stderr: "" });
    expect(outsideOf(ran)).toBeGreaterThanOrEqual(65536);
    expect(ran.stdout.trim().split("\n").slice(1)).toEqual(["0:0", "5:6", "0:0", "0:0", "0:0", "0:0"]);
    const upper = (path: string): string => join(ran.upperDir, path);
    expect(ownersOf(upper("new"))).toEqual([33, 44]);
    expect(lstatSync(upper("new")).mode & 0o7777).toBe(0o4755);
    expect(ownersOf(upper("again/pipe"))).toEqual([0, 0]);
    expect(lstatSync(upper("gone/f"))).toMatchObject({ rdev: 0, uid: 0 });
    expect([...readXattrs(upper("again")).keys()]).toEqual(["trusted.overlay.opaque"]);
  });

  test("loses setuid of a file that it writes to in place, as everybody but the machine's root", async () => {
    const script = "touch /f; chmod 6755 /f; echo >> /f; stat -c %a /f";
    expect((await sh(script)).stdout).toBe("755\n");
    expect((await bench.sh(script)).stdout).toBe("6755\n");
  });

  test("has podman's capabilities over what is its own, and none over the machine", async () => {
    const ran = await sh(`grep -E '^(Cap|Seccomp:)' /proc/self/status
      mknod /node c 1 3; hostname other; chmod 777 /proc/sys/kernel/hostname; mount -t tmpfs none /tmp; nice -n -5 true`);
    expect(ran.stdout).toMatch(/^CapEff:\t00000000800405fb\nCapBnd:\t00000000800405fb\n/m);
    expect(ran.stdout).toContain("Seccomp:\t2");
    expect(ran.stderr.trim().split("\n")).toHaveLength(5);
    expect(ran.upper).toEqual([]);
  });

  test("with CAP_SYS_ADMIN mounts, names the host, and uncovers nothing", async () => {
    const ran = await sh(
      `mount -t tmpfs none /tmp && hostname mine && hostname
      for place in /proc/sys /proc/keys /sys/firmware /proc /sys /dev; do umount $place && echo uncovered $place; done
      mount -o remount,bind,rw /proc/sys && echo writable; mount -t proc none /mnt && echo a new proc`,
      {
        security: {
          ...OWN,
          seccomp: { kind: "unconfined" },
          capabilities: [...OWN.capabilities, "CAP_SYS_ADMIN"],
        },
      },
    );
    expect(ran.stdout).toBe("mine\n");
  });

  test("finds a host's file as it is for nobody, and cooper's own as root does", async () => {
    const host = bench.layer();
    const own = bench.layer();
    chmodSync(host, 0o755);
    writeFileSync(join(host, "secret"), "root's\n", { mode: 0o600 });
    writeFileSync(join(host, "open"), "everybody's\n", { mode: 0o644 });
    writeFileSync(join(own, "kept"), "ours\n", { mode: 0o600 });
    const rootfs = overlayOf(host);
    const mounts: readonly SandboxMount[] = [
      { type: "bind", source: host, target: "/host", readOnly: false, foreign: true },
      { type: "layers", rootfs, inside: "/", target: "/copy", readOnly: false, foreign: true },
      { type: "bind", source: own, target: "/own", readOnly: false },
    ];
    const ran = await sh(
      `cat /host/open /own/kept; stat -c '%u' /host/secret /copy/secret /own/kept
      cat /host/secret; cat /copy/secret; touch /copy/new; touch /host/new; chmod 666 /host/open; touch /own/new; chown 33 /own/new`,
      { mounts },
    );
    expect(ran.stdout).toBe("everybody's\nours\n65534\n65534\n0\n");
    expect(ran.stderr.trim().split("\n")).toHaveLength(5);
    expect(lstatSync(join(host, "open")).mode & 0o777).toBe(0o644);
    expect(ownersOf(join(own, "new"))).toEqual([33, 0]);
  });

  test("gets secrets, other images' files and its streams as the user that it is", async () => {
    const other = bench.layer();
    writeFileSync(join(other, "f"), "from elsewhere\n", { mode: 0o600 });
    chownSync(join(other, "f"), 33, 33);
    const rootfs = overlayOf(other);
    const common = { readOnly: true } as const;
    const mounts: readonly SandboxMount[] = [
      {
        ...common,
        type: "secret",
        target: "/s",
        content: Buffer.from("hush\n"),
        mode: 0o400,
        uid: 33,
        gid: 0,
      },
      { ...common, type: "layers", target: "/other", rootfs, inside: "/" },
    ];
    const ran = await sh("cat /s /other/f > /dev/stdout; id -u; id -G", {
      mounts,
      uid: 33,
      gid: 33,
      groups: [44],
    });
    expect(ran).toMatchObject({ status: exited(0), stdout: "hush\nfrom elsewhere\n33\n33 44\n", stderr: "" });
  });

  test("may listen on low ports of a network that is not the machine's", async () => {
    const ran = await sh(`nc -l -p 80 & i=0
      while kill -0 $! && [ $i -lt 100 ]; do echo heard | nc 127.0.0.1 80; i=$((i + 1)); sleep 0.05; done 2>/dev/null`);
    expect(ran).toMatchObject({ stdout: expect.stringContaining("heard\n"), stderr: "" });
  });

  test("gives files capabilities that are stored as root's, and gets what files have", async () => {
    const lower = bench.layer();
    for (const file of ["given", "capable"]) copyFileSync("/bin/busybox", join(lower, `busybox-${file}`));
    execFileSync("setcap", ["cap_chown+ep", join(lower, "busybox-given")]);
    withProgram(lower, execFileSync("which", ["setcap"], { encoding: "utf8" }).trim());
    const lowerDirs = [lower, bench.base];
    const ran = await sh("/setcap cap_chown+ep /busybox-capable", { lowerDirs });
    expect(ran).toMatchObject({ status: exited(0), stderr: "" });
    const stored = [join(lower, "busybox-given"), join(ran.upperDir, "busybox-capable")].map((path) =>
      Buffer.from(readXattrs(path).get("security.capability") ?? []).toString("hex"),
    );
    expect(stored).toEqual(Array(2).fill("0100000201000000000000000000000000000000"));
    const script =
      "for file in /busybox-given /busybox-capable; do $file grep CapEff /proc/self/status; done";
    const used = await sh(script, { lowerDirs: [ran.upperDir, ...lowerDirs], uid: 33, gid: 33 });
    expect(used.stdout).toBe("CapEff:\t0000000000000001\n".repeat(2));
  });
});

testX64("a process finds no key of the session that cooper was started from", async () => {
  const [JOIN_SESSION_KEYRING, READ] = [1, 11];
  const keyring = syscall("keyctl", undefined, JOIN_SESSION_KEYRING, null);
  await using started = openBench();
  const lower = started.layer();
  writeFileSync(join(lower, "read"), syscallProgram(250, [READ, keyring, 0]), { mode: 0o755 });
  const ran = await started.run(["/read"], {
    lowerDirs: [lower],
    security: { ...OWN, seccomp: { kind: "unconfined" }, kernelFiles: "open" },
  });
  expect(ran.status).toEqual(exited(13 /* EACCES */));
});

function overlayOf(lowerDir: string): Extract<SandboxRootfs, { readonly kind: "overlay" }> {
  return { kind: "overlay", lowerDirs: [lowerDir], upperDir: bench.layer(), workDir: bench.layer() };
}

/** A program of the machine with the libraries that it needs. */
function withProgram(root: string, path: string): void {
  copyFileSync(path, join(root, basename(path)));
  const libraries = execFileSync("ldd", [path], { encoding: "utf8" }).matchAll(/(\/\S+) \(0x/g);
  for (const [, library = ""] of libraries) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
  }
}

describe("ids", () => {
  test("that the namespace does not have are refused before anything is started", async () => {
    const message = `user or group 70000 is not among the ${SIZE} ids of the user namespace`;
    await expect(sh("true", { uid: 70000 })).rejects.toThrow(message);
    await expect(sh("true", { groups: [70000] })).rejects.toThrow(message);
  });

  test("are nobody else's: of two at once each has its own, and what could not be had is tried again", async () => {
    await using other = ownUserNamespace(SIZE);
    const ran = await sh("cat /proc/self/uid_map", { security: { ...OWN, userNamespace: other } });
    expect(Math.abs(outsideOf(ran) - outsideOf(await sh("cat /proc/self/uid_map")))).toBeGreaterThanOrEqual(
      SIZE,
    );
    await using failed = ownUserNamespace(1);
    const nowhere = { scratchDir: join(bench.dir, "nowhere"), userNamespace: false };
    await expect(failed.open(nowhere)).rejects.toThrow("cannot make a user namespace");
    await failed.open({ ...nowhere, scratchDir: bench.dir });
  });

  test("are few: the terminal's group is not another's", async () => {
    await using three = ownUserNamespace(3);
    const ran = await sh("grep devpts /proc/self/mountinfo", { security: { ...OWN, userNamespace: three } });
    const [, uid, gid] = /uid=(\d+),gid=(\d+)/.exec(ran.stdout) ?? [];
    expect(gid).toBe(uid);
  });

  test("end: whoever finds all of them in use is told what to do", () => {
    const dir = bench.layer();
    const most = 1073741824;
    {
      using all = claimIds(most, dir);
      expect(all).toMatchObject({ uid: 2147483648, gid: 2147483648 });
      const message = 'all ids of "containers" in /etc/subuid are in use by other builds';
      expect(() => claimIds(1, dir)).toThrow(message);
    }
    using one = claimIds(1, dir);
    using next = claimIds(1000, dir);
    expect([one.uid, next.uid]).toEqual([2147483648, 2147483649]);
    expect(readFileSync(join(dir, "uids"), "utf8")).toBe("");
  });
});

test.each([
  ["of the user containers before root's", ["root:200000:9", "containers:100000:65536"], [[100000, 65536]]],
  [
    "of root where containers has none",
    ["# root:1:2", "root:200000:9", "0:300000:5\r"],
    [
      [200000, 9],
      [300000, 5],
    ],
  ],
  [
    "that no user of the machine has",
    ["containers:0:65536", "containers:1000:1", "containers:65000:70000"],
    [[65536, 69464]],
  ],
  ["that are ids", ["containers:4294967290:65536", "containers:99999999999999999999:9"], [[4294967290, 5]]],
  [
    "in lines that say so",
    [
      "containers:-5:9",
      "containers:70000:1e6",
      "containers: 70000:9",
      "containers:70000",
      "containers:70000:0",
    ],
    [],
  ],
])("ids are taken %s", (_, lines, ranges) => {
  expect(containerRanges(lines)).toEqual(ranges.map(([first, count]) => ({ first, count })));
});

test("inside a user namespace there is no further one", async () => {
  await using inner = openBench(true);
  const security = { ...OWN, userNamespace: ownUserNamespace(SIZE) };
  await expect(inner.sh("true", { security })).rejects.toThrow("needs cooper to run as root");
});
