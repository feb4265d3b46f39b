import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseDevices } from "../../src/runtime/index.js";
import { describeWith, testWith } from "../support/packages.js";
import type { Bench, Finished } from "./support.js";
import { exited, openBench, withCapabilities } from "./support.js";

let bench: Bench;
const dir = mkdtempSync(join(tmpdir(), "cooper-devices-"));
beforeAll(() => {
  bench = openBench();
  const make = (name: string, ...numbers: readonly string[]): void =>
    void execFileSync("mknod", ["-m", "600", join(dir, name), ...numbers]);
  mkdirSync(join(dir, "many/deep"), { recursive: true });
  // Those of /dev/zero, /dev/full, /dev/loop-control, and a block device that nobody has.
  make("zero", "c", "1", "5");
  make("many/a", "c", "1", "5");
  make("many/deep/b", "c", "1", "7");
  make("control", "c", "10", "237");
  make("block", "b", "240", "200");
  writeFileSync(join(dir, "file"), "");
  writeFileSync(join(dir, "many/file"), "");
  symlinkSync("zero", join(dir, "link"));
});
afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

const sh = (script: string, ...devices: readonly string[]): Promise<Finished> =>
  bench.sh(script, { devices: parseDevices(devices) });
const first = (path: string): string => `dd if=${path} bs=4 count=1 2>/dev/null | od -An -tx1`;

test("the machine's own /dev keeps its modes, whatever a step does to its own", async () => {
  const modes = (): readonly number[] =>
    ["null", "zero", "full", "random", "urandom", "tty"].map((name) => statSync(`/dev/${name}`).mode);
  const before = modes();
  const { stdout } = await sh(
    "cd /dev; for name in null zero full random urandom tty; do stat -c %a $name; chmod 600 $name; stat -c %a $name; done",
  );
  const after = modes();
  // Should it be broken, only this test knows what they were.
  for (const [index, name] of ["null", "zero", "full", "random", "urandom", "tty"].entries())
    chmodSync(`/dev/${name}`, (before[index] ?? 0) & 0o7777);
  expect(after).toEqual(before);
  expect(stdout).toBe("666\n600\n".repeat(6));
});

describe("a device of the host", () => {
  test("is not there unless asked for", async () => {
    expect((await sh("ls /dev/loop-control /dev/fuse")).status).toEqual(exited(1));
  });

  test.each(["zero", "link"])("%s can be read and written below /dev", async (name) => {
    const { stdout, upper } = await sh(
      `${first("/dev/deep/mine")}; echo x > /dev/deep/mine && echo written; stat -c %F,%a /dev/deep/mine`,
      `${dir}/${name}:/dev/deep/mine`,
    );
    expect(stdout).toBe(" 00 00 00 00\nwritten\ncharacter special file,600\n");
    expect(upper).toEqual([]);
  });

  test("may be anywhere else, and leaves nothing in the layer", async () => {
    const { stdout, stderr, upper } = await sh(
      `${first("/srv/x/device")}; cat ${dir}/block; stat -c %F ${dir}/block`,
      `${dir}/zero:/srv/x/device`,
      `${dir}/block`,
    );
    expect(stdout).toBe(" 00 00 00 00\nblock special file\n");
    // Of the block device the kernel says that nothing is behind it, and not that it may not be opened.
    expect(stderr).toContain("No such device or address");
    expect(upper).toEqual([]);
  });

  test("a directory stands for all devices in it", async () => {
    const { stdout } = await sh("cd /dev/all && find . | sort && echo x > deep/b", `${dir}/many:/dev/all`);
    expect(stdout).toBe(".\n./a\n./deep\n./deep/b\n");
    expect((await sh("echo x > /dev/all/deep/b", `${dir}/many:/dev/all`)).stderr).toContain("No space left");
  });

  test("keeps its mode and owner, and its name", async () => {
    const before = statSync(join(dir, "zero"));
    const { stderr } = await sh(
      "chmod 666 /dev/mine; chown 33 /dev/mine; touch /dev/mine; rm /dev/mine",
      `${dir}/zero:/dev/mine`,
    );
    expect(stderr.match(/Read-only file system/g)).toHaveLength(3);
    expect(stderr).toContain("busy");
    expect(statSync(join(dir, "zero"))).toMatchObject({
      mode: before.mode,
      uid: before.uid,
      ctimeMs: before.ctimeMs,
    });
  });

  test("an image cannot aim it at the kernel's files", async () => {
    const layer = bench.layer();
    symlinkSync("/proc", join(layer, "srv"));
    const changes = { devices: parseDevices([`${dir}/zero:/srv/version`]), lowerDirs: [layer, bench.base] };
    await expect(bench.sh("true", changes)).rejects.toThrow("cannot show the device /srv/version");
  });

  test("a link of /dev leads nowhere else", async () => {
    const devices = [{ source: join(dir, "zero"), target: "/dev/stdin/x", permissions: "rwm" }];
    await expect(bench.sh("true", { devices })).rejects.toThrow("the sandbox's own");
  });

  testWith(["root"], "with permissions, may be used for no more", async () => {
    const script = "cat /dev/x; (: > /dev/x) && echo writable";
    const { stdout, stderr } = await sh(script, `${dir}/control:/dev/x:w`);
    expect(stderr).toContain("Operation not permitted");
    expect(stdout).toBe("writable\n");
    const all = await sh(script, `${dir}/control:/dev/x`);
    expect(all.stderr).not.toContain("not permitted");
    // Nobody can make it who has not the capability: this needs no cgroup.
    const both = await sh(script, `${dir}/control:/dev/x:rw`);
    expect(both.stdout).toBe("writable\n");
  });

  testWith(["root"], "without m cannot be made, not even in /dev", async () => {
    const security = withCapabilities("CAP_MKNOD", "CAP_DAC_OVERRIDE");
    const make = (device: string): Promise<Finished> =>
      bench.sh("mknod /dev/y c 10 237", { devices: parseDevices([device]), security });
    expect((await make(`${dir}/control:/dev/x:rw`)).stderr).toContain("Operation not permitted");
    expect((await make(`${dir}/control:/dev/x`)).stderr).toBe("");
  });

  test("is refused when another one lies there meanwhile", async () => {
    const device = { source: join(dir, "file"), target: "/dev/x", permissions: "rwm" };
    await expect(bench.sh("true", { devices: [device] })).rejects.toThrow("is no device");
  });
});

describe.each(["crun", "runc"])("%s", (runtime) => {
  describeWith([runtime], "shows the same", () => {
    testWith(["root"], "below /dev and elsewhere, with the host's mode and owner", async () => {
      await using other = openBench(false, runtime);
      const devices = parseDevices([`${dir}/zero:/dev/mine`, `${dir}/zero:/srv/x/device`]);
      const { stdout, stderr, upper } = await other.sh(
        `${first("/dev/mine")}; ${first("/srv/x/device")}; chmod 666 /dev/mine; chmod 666 /srv/x/device`,
        { devices },
      );
      expect(stdout).toBe(" 00 00 00 00\n 00 00 00 00\n");
      expect(stderr.match(/Read-only file system/g)).toHaveLength(2);
      expect(upper).toEqual([]);
    });
  });
});

describe("what is asked for is read as podman does", () => {
  const zero = join(dir, "zero");

  test.each([
    [zero, [{ source: zero, target: zero, permissions: "rwm" }]],
    [`${zero}:/dev/x`, [{ source: zero, target: "/dev/x", permissions: "rwm" }]],
    [`${zero}:/dev/../dev//x:mrw`, [{ source: zero, target: "/dev/x", permissions: "rwm" }]],
    [`${dir}/control:rm`, [{ source: `${dir}/control`, target: `${dir}/control`, permissions: "rm" }]],
    [
      `${dir}/many:/m`,
      [
        { source: `${dir}/many/a`, target: "/m/a", permissions: "rwm" },
        { source: `${dir}/many/deep/b`, target: "/m/deep/b", permissions: "rwm" },
      ],
    ],
  ])("%s", (text, expected) => {
    expect(parseDevices([text])).toEqual(expected);
  });

  test.each([
    ["/dev/nowhere", "--device /dev/nowhere: /dev/nowhere does not exist"],
    [`${dir}/file`, `${dir}/file is no device`],
    [`${dir}/file/x`, "does not exist"],
    ["", "it is not HOST[:CONTAINER][:PERMISSIONS]"],
    ["dev/fuse", "it is not HOST[:CONTAINER][:PERMISSIONS]"],
    ["vendor.com/class=name", "devices of CDI are not supported"],
    [`${zero}:x`, '"x" is neither an absolute path nor some of r, w and m'],
    [`${zero}:rr`, '"rr" is neither'],
    [`${zero}:/dev/x:rx`, 'the permissions "rx" are not some of r, w and m'],
    [`${zero}:/dev/x:`, 'the permissions "" are not'],
    [`${zero}:r:w`, "too much"],
    [`${zero}:/a:r:w`, "too much"],
    [`${zero}:/dev`, "/dev is the sandbox's own"],
    [`${zero}:/dev/pts/0`, "/dev/pts/0 is the sandbox's own"],
    [`${zero}:/dev/x/../stdin`, "/dev/stdin is the sandbox's own"],
    [`${zero}:/proc/x`, "/proc/x is the sandbox's own"],
    [`${zero}:/`, "/ is the sandbox's own"],
    [`${zero}:/dev/x:r`, "every process may read and write"],
  ])("%s is refused", (text, message) => {
    expect(() => parseDevices([text])).toThrow(message);
  });

  test("two of them must not contradict each other", () => {
    expect(() => parseDevices([`${zero}:/dev/x`, `${dir}/control:/dev/x`])).toThrow("two devices cannot be");
    expect(() => parseDevices([`${dir}/control:/a`, `${dir}/control:/b:r`])).toThrow("can have no others");
  });

  test("an empty directory is refused", () => {
    expect(() => parseDevices([bench.layer()])).toThrow("no device lies below");
  });
});
