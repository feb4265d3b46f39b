import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunImageOptions } from "../../src/index.js";
import { outcomeOf } from "./users.js";
import { openLab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";

/** Whoever asks for it before the options are looked at fails with another error. */
const NOWHERE = "127.0.0.1:1/no/such:image";

describeWith(
  ["root", "busybox"],
  "what a container may not have is refused before its image is looked for",
  () => {
    test.each([
      [{ network: "none" }, "--network=none needs a network namespace"],
      [{ memoryBytes: 1 << 27 }, "--memory needs cgroups"],
      [{ cpus: 1 }, "--cpus needs cgroups"],
      [{ pidsLimit: 100 }, "--pids-limit needs cgroups"],
      [{ shmBytes: 1 << 20 }, "--shm-size needs the right to mount"],
      [{ devices: ["/dev/tty"] }, "--device /dev/tty needs the right to mount"],
      [{ capAdd: ["sys_chroot"] }, "CAP_SYS_CHROOT would let a process leave"],
      [
        { seccomp: { profile: '{"defaultAction":"SCMP_ACT_ALLOW"}', path: "p.json" } },
        "a seccomp profile needs CAP_SYS_ADMIN",
      ],
      [{ volumes: ["/tmp:/v"] }, "-v /tmp:/v needs the right to mount (add :ro"],
      [{ tty: true }, "--tty needs a terminal of its own"],
    ] satisfies readonly (readonly [RunImageOptions, string])[])("by chroot: %j", async (options, reason) => {
      await using lab = await openLab();
      const before: string[] = [];
      const running = lab.cooper.run(NOWHERE, {
        isolation: "chroot",
        ...options,
        onEvent: ({ type }) => void before.push(type),
      });
      await expect(running).rejects.toMatchObject({
        code: "unsupported",
        message: expect.stringContaining(`isolation "chroot" cannot do this: ${reason}`) as string,
        hint: "leave out --isolation chroot: another one may work here",
      });
      expect(before).toEqual([]);
    });

    test("a driver that is insisted on must work", async () => {
      await using lab = await openLab();
      const code = expect.stringMatching(/^(sandbox|unsupported)$/) as string;
      await expect(lab.cooper.run(NOWHERE, { runtime: "no-such-runtime" })).rejects.toMatchObject({ code });
    });

    test("a volume must be there", async () => {
      await using lab = await openLab();
      const running = lab.cooper.run(NOWHERE, { volumes: ["/no/such:/v"] });
      await expect(running).rejects.toMatchObject({ message: "volume source /no/such does not exist" });
    });
  },
);

describeWith(["root", "mounts", "busybox", "unshare"], "the command", () => {
  test.each([
    ["--memory=64m", "cannot limit the memory to 64 MiB: "],
    ["--pids-limit=100", "cannot limit the processes to 100: "],
  ])("%s that cannot be had is told first", async (flag, message) => {
    await using lab = await openLab();
    const argv = ["run", "--rm", "--root", join(lab.dir, "root"), flag, NOWHERE, "true"];
    const script = 'umount -lR /sys/fs/cgroup && exec "$0" dist/cooper.cjs "$@"';
    const { code, stdout, stderr } = await outcomeOf("unshare", [
      "-m",
      "sh",
      "-c",
      script,
      process.execPath,
      ...argv,
    ]);
    expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr).not.toContain("127.0.0.1:1");
  });
});
