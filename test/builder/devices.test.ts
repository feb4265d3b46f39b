import { expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
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
      `a user namespace of its own needs ${2 ** 31} ids in a row for the user "containers" in /etc/subuid, and there are 1073741824`,
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
});
