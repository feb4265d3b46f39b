import { readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildOptions, CooperEvent } from "../../src/index.js";
import { describeWith } from "../support/packages.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";

/** Hazard C07 (CVE-2024-23653): a Containerfile gives itself no power that its builder did not give it. */
describeWith(["root", "busybox"], "what a Containerfile may ask for", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await openLab();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  test.each([
    ["--network=host", "network.host"],
    ["--security=insecure", "security.insecure"],
  ])("%s is refused before anything runs, with its place", async (flag, word) => {
    const events: CooperEvent[] = [];
    const others = (["network.host", "security.insecure"] as const).filter((each) => each !== word);
    for (const allow of [[], others]) {
      const build = lab.build(`${BUSYBOX_BASE}RUN ${flag} id\n`, {
        allow,
        onEvent: (event) => events.push(event),
      });
      await expect(build).rejects.toMatchObject({
        code: "usage",
        message: `RUN ${flag} is not allowed in this build`,
        where: "Containerfile:4:5",
        hint: `if you trust the file, build with --allow ${word}`,
      });
    }
    expect(events).toEqual([]);
  });

  test("so it is in a trigger of the base", async () => {
    await lab.build(`${BUSYBOX_BASE}ONBUILD RUN --network=host id\n`, { tags: ["triggers"] });
    const events: string[] = [];
    const build = lab.build("FROM localhost/triggers\n", { onEvent: (event) => events.push(event.type) });
    await expect(build).rejects.toMatchObject({
      code: "usage",
      message: "RUN --network=host is not allowed in this build",
    });
    expect(events).not.toContain("step-start");
  });

  test.each(["--security=7", "--security=INSECURE", "--security=", "--network=hos", "--network=container:x"])(
    "%s is no word for the usual",
    async (flag) => {
      await expect(lab.build(`FROM scratch\nRUN ${flag} id\n`)).rejects.toMatchObject({ code: "syntax" });
    },
  );

  test("nothing but the two can be allowed", async () => {
    const allow = ["network.hots"] as unknown as NonNullable<BuildOptions["allow"]>;
    await expect(lab.build("FROM scratch\n", { allow })).rejects.toMatchObject({
      code: "usage",
      message: 'there is nothing called "network.hots" to allow: it can be network.host or security.insecure',
    });
  });

  test("what is allowed is done: this machine's network", async () => {
    const namespace = readlinkSync("/proc/self/ns/net");
    const file = `${BUSYBOX_BASE}RUN --network=host readlink /proc/self/ns/net\n`;
    for (const options of [{ allow: ["network.host"] }, { network: "host" }] as const) {
      expect((await lab.build(file, { ...options, cache: false })).output).toContain(namespace);
    }
    expect((await lab.build(file.replace("--network=host", ""), { cache: false })).output).not.toContain(
      namespace,
    );
  });

  test("what is allowed is done: all capabilities, no filter, and kernel files as they are", async () => {
    const look = "grep -E '^(CapEff|Seccomp):' /proc/self/status; mount -t tmpfs none /mnt && echo MOUNTED";
    const file = (flag: string): string =>
      `${BUSYBOX_BASE}RUN mkdir /mnt; ${look}; true\nRUN ${flag} ${look}; true\n`;
    const { output } = await lab.build(file("--security=insecure"), { allow: ["security.insecure"] });
    const [usual = "", ...rest] = output.split("Seccomp:\t2\n");
    const insecure = rest.join("");
    expect(usual).toContain("CapEff:\t00000000800405fb");
    expect(insecure).toContain("Seccomp:\t0\nMOUNTED");
    expect(insecure).not.toContain("CapEff:\t00000000800405fb");
    // The step is another than the same without the flag.
    expect((await lab.build(file(""))).built).toHaveLength(1);
  });
});
