import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import { makeContext, openUsers, outcomeOf } from "../api/users.js";
import type { Outcome } from "../api/users.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";

const EARLIER = `${BUSYBOX_BASE}RUN echo an earlier step\n`;

/** How a build is refused, and what happened before. */
async function refused(
  lab: Lab,
  text: string,
  options: Partial<BuildOptions>,
): Promise<{ readonly error: Record<string, unknown>; readonly before: readonly string[] }> {
  const before: string[] = [];
  try {
    await lab.build(text, { ...options, onEvent: ({ type }) => void before.push(type) });
  } catch (error) {
    return { error: error as Record<string, unknown>, before };
  }
  throw new Error(`this was not refused: ${text}`);
}

describeWith(["root", "busybox"], "what the chroot driver lacks is refused before the first step", () => {
  test.each([
    ["RUN --network=none true", {}, "--network=none needs a network namespace", "5:5"],
    [
      "RUN --security=insecure true",
      { allow: ["security.insecure"] },
      "--security=insecure needs the right to mount",
      "5:5",
    ],
    [
      "RUN echo x && \\\n  true\nARG S=4m\nRUN --network=host \\\n  --mount=type=tmpfs,target=/t,size=$S true",
      { allow: ["network.host"] },
      "the size of a tmpfs needs the right to mount",
      "9:3",
    ],
    ["ONBUILD RUN --network=none true\nFROM base", {}, "--network=none needs", "5:13"],
    ["RUN true", { network: "none" }, "--network=none needs a network namespace", undefined],
    ["RUN true", { memoryBytes: 1 << 27 }, "--memory needs cgroups", undefined],
    ["RUN true", { cpus: 1 }, "--cpus needs cgroups", undefined],
    ["RUN true", { pidsLimit: 100 }, "--pids-limit needs cgroups", undefined],
    ["RUN true", { shmBytes: 1 << 20 }, "--shm-size needs the right to mount", undefined],
    ["RUN true", { devices: ["/dev/tty"] }, "--device /dev/tty needs the right to mount", undefined],
    ["RUN true", { capAdd: ["sys_chroot"] }, "CAP_SYS_CHROOT would let a process leave", undefined],
    [
      "RUN true",
      { seccomp: { profile: '{"defaultAction":"SCMP_ACT_ALLOW"}', path: "p.json" } },
      "a seccomp profile needs CAP_SYS_ADMIN",
      undefined,
    ],
    ["RUN true", { volumes: ["/tmp:/v"] }, "-v /tmp:/v needs the right to mount (add :ro", undefined],
  ] satisfies readonly (readonly [string, Partial<BuildOptions>, string, string | undefined])[])(
    "%j with %j",
    async (steps, options, reason, place) => {
      await using lab = await openLab();
      const { error, before } = await refused(lab, `${EARLIER}${steps}\n`, {
        isolation: "chroot",
        ...options,
      });
      expect(error).toMatchObject({
        code: "unsupported",
        message: expect.stringContaining(`isolation "chroot" cannot do this: ${reason}`) as string,
        hint: "leave out --isolation chroot: another one may work here",
        where: place === undefined ? undefined : `Containerfile:${place}`,
      });
      expect(before).toEqual([]);
    },
  );

  test("nothing of it counts where it is not needed", async () => {
    await using lab = await openLab();
    const plain = `${EARLIER}FROM scratch AS unused\nRUN --network=none true\nFROM base\nRUN echo fine\n`;
    const options = { isolation: "chroot", pidsLimit: -1, volumes: [`${lab.context}:/v:ro`] } as const;
    expect((await lab.build(plain, options)).output).toBe("an earlier step\nfine\n");
    const copy = { isolation: "chroot", memoryBytes: 1 << 27 } as const;
    expect((await lab.build("FROM scratch\nCOPY busybox /\n", copy)).result.steps.built).toBe(1);
  });
});

describeWith(["root", "busybox"], "a driver that is insisted on", () => {
  test("must work before the first step", async () => {
    await using lab = await openLab();
    const options = { runtime: "no-such-runtime" };
    const { error, before } = await refused(lab, EARLIER, options);
    expect(error).toMatchObject({ code: expect.stringMatching(/^(sandbox|unsupported)$/) as string });
    expect(before).toEqual([]);
    expect((await lab.build("FROM scratch\nCOPY busybox /\n", options)).result.steps.built).toBe(1);
  });
});

describeWith(["root", "mounts", "busybox", "unshare"], "the command", () => {
  /** `world`: what is different for this process alone, as a command. */
  const command = async (lab: Lab, world: string, ...args: readonly string[]): Promise<Outcome> => {
    lab.write({ Containerfile: `${EARLIER}RUN --network=none true\n` });
    const argv = ["build", "--root", join(lab.dir, "root"), ...args, lab.context];
    const script = `${world} && exec "$0" dist/cooper.cjs "$@"`;
    return outcomeOf("unshare", ["-m", "sh", "-c", script, process.execPath, ...argv]);
  };
  /** As in many containers. */
  const WITHOUT_CGROUPS = "umount -lR /sys/fs/cgroup";
  /** All but the chroot driver need it. */
  const WITHOUT_UNSHARE = "mount --bind /bin/false /usr/bin/unshare";

  test("tells in one line what the driver lacks and where", async () => {
    await using lab = await openLab();
    const { code, stderr, stdout } = await command(lab, "true", "--isolation", "chroot");
    expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
    expect(stderr.split("\n")).toEqual([
      'Error: isolation "chroot" cannot do this: --network=none needs a network namespace',
      `  at ${lab.context}/Containerfile:5:5`,
      "  5 | RUN --network=none true",
      "    |     ^^^^^^^^^^^^^^",
      "  hint: leave out --isolation chroot: another one may work here",
      "",
    ]);
  });

  test("says why there is no better isolation", async () => {
    await using lab = await openLab();
    const { code, stderr } = await command(lab, WITHOUT_UNSHARE);
    expect(code).toBe(125);
    expect(stderr).toMatch(/^Error: isolation "chroot" cannot do this: --network=none needs .*\n {2}at /);
    expect(stderr).toMatch(/\n {2}hint: native does not work here: .*; cooper doctor says what to change\n$/);
    expect(stderr).not.toContain("STEP");
  });

  test.each([
    ["--memory=64m", "cannot limit the memory to 64 MiB: "],
    ["--cpus=1", "cannot limit the processors to 1: "],
    ["--pids-limit=100", "cannot limit the processes to 100: "],
  ])("%s that cannot be had is told before the first step", async (flag, message) => {
    await using lab = await openLab();
    const { code, stderr, stdout } = await command(lab, WITHOUT_CGROUPS, flag);
    expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr).not.toContain("STEP");
  });
});

describeWith(
  ["root", "mounts", "busybox", "unshare"],
  "SELinux labels that a mount or volume wants changed",
  () => {
    /** A machine that looks as if it had SELinux. */
    const SELINUX =
      'mount --bind "$0" /sys/fs && mkdir -p /sys/fs/selinux && echo 1 > /sys/fs/selinux/enforce && exec "$@"';
    const build = (lab: Lab, script: string, step: string, ...flags: readonly string[]): Promise<Outcome> => {
      lab.write({ Containerfile: `${EARLIER}${step}\n`, "fs/selinux/README": "" });
      const argv = ["dist/cooper.cjs", "build", "--root", join(lab.dir, "root"), ...flags, lab.context];
      return outcomeOf("unshare", [
        "-m",
        "sh",
        "-c",
        script,
        join(lab.context, "fs"),
        process.execPath,
        ...argv,
      ]);
    };

    test.each([
      ["RUN --mount=type=bind,target=/x,z true", "RUN --mount", "leave out z, Z and relabel"],
      ["RUN --mount=type=cache,target=/x,relabel=private true", "RUN --mount", "leave out z, Z and relabel"],
    ])("are refused with the place where there is SELinux: %s", async (step, what, hint) => {
      await using lab = await openLab();
      const { code, stderr } = await build(lab, SELINUX, step);
      expect(code).toBe(125);
      expect(stderr).toContain(
        `Error: ${what}: SELinux labels cannot be changed\n  at ${lab.context}/Containerfile:5:5\n`,
      );
      expect(stderr).toContain(`  hint: ${hint}\n`);
      expect(stderr).not.toContain("STEP");
    });

    test("are refused there in a volume, too", async () => {
      await using lab = await openLab();
      const volume = `${lab.context}:/v:Z`;
      const { code, stderr } = await build(lab, SELINUX, "RUN true", "-v", volume);
      expect(code).toBe(125);
      expect(stderr).toMatch(
        /^Error: volume ".*:Z": SELinux labels cannot be changed\n {2}hint: relabel the directory/,
      );
    });

    test("mean nothing where there is none", async () => {
      await using lab = await openLab();
      const step =
        "RUN --mount=type=bind,target=/x,Z --mount=type=cache,target=/y,relabel=shared --mount=type=tmpfs,target=/z,z=false test -e /x/busybox";
      expect(await build(lab, 'exec "$@"', step, "-v", `${lab.context}:/v:z,ro`)).toMatchObject({ code: 0 });
    });
  },
);

describeWith(["root", "busybox", "newuidmap", "unshare"], "an ordinary user", () => {
  test("is told of a limit that cannot be had before the first step", async () => {
    using users = openUsers();
    const user = users.add({ subordinateIds: true });
    const path = makeContext(user.home, "context", EARLIER);
    const { code, stderr } = await user.cooper("build", "--memory=64m", path);
    expect(code).toBe(125);
    expect(stderr).toMatch(/^Error: cannot limit the memory to 64 MiB: /);
    expect(stderr).not.toContain("STEP");
  });
});

describe("a secret or agent that is required and was not given", () => {
  const needs = "RUN --mount=type=secret,id=s,required true";

  test.each([
    ["secret", needs, { secrets: {} }, 'secret "s" was not given'],
    ["agent", "RUN --mount=type=ssh,required true", {}, 'ssh agent "default" was not given'],
    [
      "id in a variable",
      "ARG I=x\nRUN --mount=type=secret,id=$I,required true",
      {},
      'secret "x" was not given',
    ],
  ])("%s", async (_, steps, options, message) => {
    await using lab = await openLab();
    const { error, before } = await refused(lab, `FROM scratch\nRUN ["/none"]\n${steps}\n`, options);
    expect(error).toMatchObject({
      code: "not-found",
      message: `RUN --mount: ${message}`,
      where: expect.stringMatching(/^Containerfile:[34]:5$/) as string,
    });
    expect(before).toEqual(["step-start", "step-start"]);
    const uncached = await refused(lab, `FROM scratch\nRUN ["/none"]\n${steps}\n`, {
      ...options,
      cache: false,
    });
    expect([uncached.error["message"], uncached.before]).toEqual([error["message"], []]);
  });

  test("is not asked for by cached steps, whatever metadata changes before them", async () => {
    await using lab = await openLab();
    const text = (label: string): string => `${BUSYBOX_BASE}LABEL a=${label}\n${needs}\n`;
    await lab.build(text("1"), { secrets: { s: Buffer.from("hush") } });
    expect((await lab.build(text("1"))).result.steps.built).toBe(0);
    expect((await lab.build(text("2"))).built).toEqual(["LABEL a=2"]);
  });

  test("is told before a step that it comes after, in a stage built on that one too", async () => {
    await using lab = await openLab();
    const text = (first: string): string =>
      `${BUSYBOX_BASE}RUN echo ${first}\nFROM base AS next\nRUN true\nFROM next\n${needs}\n`;
    await lab.build(text("1"), { secrets: { s: Buffer.from("hush") } });
    const { error, before } = await refused(lab, text("2"), {});
    expect(error).toMatchObject({ where: "Containerfile:8:5" });
    expect(before).not.toContain("output");
  });
});
