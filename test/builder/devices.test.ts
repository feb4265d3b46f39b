import { expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";

const TEXT = `${BUSYBOX_BASE}RUN test -c /dev/mine && : > /dev/mine\n`;

describeWith(["root", "busybox"], "a build with --device", () => {
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
    [{ userns: "auto" as const }, "a user namespace of its own for each process is not supported yet"],
  ])("%j is refused before the first step", async (options, message) => {
    await using lab = await openLab();
    const events: string[] = [];
    const build = lab.build(TEXT, { ...options, onEvent: ({ type }) => void events.push(type) });
    await expect(build).rejects.toThrow(message);
    expect(events).not.toContain("step-start");
  });
});
