import { chmodSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { LabBuild } from "../support/lab.js";
import { describeWith } from "../support/packages.js";

const TEXT = `${BUSYBOX_BASE}RUN test -c /dev/mine && : > /dev/mine\n`;

describeWith(["root", "busybox"], "a build with --device and --userns", () => {
  test.each(["/dev/loop-control:/dev/mine", "/dev/loop-control:/dev/mine:rw"])(
    "%s shows it to every RUN, without a cgroup of its own",
    async (device) => {
      await using lab = await openLab();
      await expect(lab.build(TEXT)).rejects.toThrow("RUN");
      await lab.build(TEXT, { devices: [device] });
    },
  );

  test.each([
    [{ devices: ["/dev/nowhere"] }, "--device /dev/nowhere: /dev/nowhere does not exist"],
    [{ devices: ["/etc/passwd"] }, "--device /etc/passwd: /etc/passwd is no device"],
    [{ userns: { size: 0 } }, "a user namespace cannot have 0 ids"],
    [
      { userns: { size: 2 ** 31 } },
      `a user namespace of its own needs ${2 ** 31} ids in a row above 65535 for the user "containers" in /etc/subuid, and there are 1073741824`,
    ],
    [
      { userns: "auto" as const, isolation: "chroot" as const },
      'isolation "chroot" cannot do this: a user namespace of its own needs the right to make user namespaces',
    ],
    [
      { userns: "auto" as const, isolation: "oci" as const },
      'isolation "oci" cannot do this: a user namespace of its own needs isolation "native"',
    ],
  ])("%j is refused before the first step", async (options, message) => {
    await using lab = await openLab();
    const events: string[] = [];
    const build = lab.build(TEXT, { ...options, onEvent: ({ type }) => void events.push(type) });
    await expect(build).rejects.toThrow(message);
    expect(events).not.toContain("step-start");
  });

  test("gives each of two builds at once ids of its own, and has none when they have ended", async () => {
    await using lab = await openLab();
    const meeting = join(lab.dir, "meeting");
    mkdirSync(meeting);
    chmodSync(meeting, 0o777);
    const build = (mine: string, other: string): Promise<LabBuild> =>
      lab.build(
        `${BUSYBOX_BASE}RUN touch /v/${mine}; until [ -e /v/${other} ]; do sleep 0.05; done; cat /proc/self/uid_map\n`,
        { userns: "auto", volumes: [`${meeting}:/v`] },
      );
    const [one, two] = await Promise.all([build("a", "b"), build("b", "a")]);
    expect(one.output).toMatch(/^\s+0\s+\d+\s+65536\n$/);
    expect(one.output).not.toBe(two.output);
    expect(openFiles()).not.toContain("/run/cooper/uids");
  });

  test("shows a volume with option O as the machine's, too", async () => {
    await using lab = await openLab();
    const volume = join(lab.dir, "volume");
    mkdirSync(volume);
    writeFileSync(join(volume, "secret"), "hush", { mode: 0o600 });
    const text = `${BUSYBOX_BASE}RUN stat -c %u /v/secret; ! cat /v/secret\n`;
    const built = await lab.build(text, { userns: "auto", volumes: [`${volume}:/v:O`] });
    expect(built.output).toMatch(/^65534\n.*Permission denied/);
  });
});

/** Of this process. */
function openFiles(): readonly string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      // The one that read the directory.
      return [];
    }
  });
}
