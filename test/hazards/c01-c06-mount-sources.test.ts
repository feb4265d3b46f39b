import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Bench } from "../runtime/support.js";
import { openBench } from "../runtime/support.js";
import type { Lab } from "../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

/** A directory of the host that no build may read or write. */
function forbidden(dir: string): string {
  const host = join(dir, "host");
  mkdirSync(host);
  writeFileSync(join(host, "canary"), "canary\n");
  return host;
}

const cachesOf = (lab: Lab): string => join(lab.dir, "root/cache/mounts");

describe("C01: a link of a stage as the source of a bind leads nowhere outside of it", () => {
  test.each(["", ",rw"])("from=%s", async (more) => {
    await using lab = await openLab();
    const host = forbidden(lab.dir);
    const file = `${BUSYBOX_BASE}FROM base AS evil
RUN ln -s ${host} /d && ln -s / /root-link
FROM base
RUN --mount=type=bind,from=evil,source=/d,target=/e${more} cat /e/canary; touch /e/X
`;
    await expect(lab.build(file)).rejects.toMatchObject({
      code: "not-found",
      message: 'RUN --mount: source "/d" not found in stage "evil"',
    });
    const cache = file.replace("type=bind", "type=cache");
    await expect(lab.build(cache)).rejects.toMatchObject({
      code: "not-found",
      message: 'RUN --mount: source "/d" is no directory in stage "evil"',
    });
    expect(readdirSync(host)).toEqual(["canary"]);
  });

  test("nor does one of the build context, nor `..`", async () => {
    await using lab = await openLab();
    const host = forbidden(lab.dir);
    symlinkSync(host, join(lab.context, "d"));
    symlinkSync(join(host, "canary"), join(lab.context, "file"));
    for (const source of ["d", "d/canary", "file", "../host", "../host/canary", `../../../..${host}`])
      for (const more of ["", ",rw"]) {
        const flag = `--mount=source=${source},target=/e${more}`;
        await expect(lab.build(`${BUSYBOX_BASE}RUN ${flag} cat /e /e/canary\n`)).rejects.toMatchObject({
          code: "not-found",
          message: `RUN --mount: source "${source}" not found in the build context`,
        });
      }
    const up = `${BUSYBOX_BASE}RUN --mount=source=../..,target=/e,rw ls /e; touch /e/X\n`;
    expect((await lab.build(up)).output).toBe("busybox\nd\nfile\n");
    expect(readdirSync(host)).toEqual(["canary"]);
    expect(readdirSync(lab.context).toSorted()).toEqual(["busybox", "d", "file"]);
  });
});

describe("C02: an id never becomes a path", () => {
  test("of a cache, whatever it holds", async () => {
    await using lab = await openLab();
    const host = forbidden(lab.dir);
    for (const id of [`../../../../../..${host}`, "../..", "/", ".", "a/b", host]) {
      const file = `${BUSYBOX_BASE}RUN --mount=type=cache,id=${id},target=/c ls -A /c; touch /c/X; cat /c/canary || true\n`;
      expect((await lab.build(file)).output).toBe("cat: can't open '/c/canary': No such file or directory\n");
    }
    // From a cache's own directory it is six levels to the lab's.
    for (const source of ["../../../../../../host", `${"../".repeat(20)}${host.slice(1)}`]) {
      const step = `${BUSYBOX_BASE}RUN --mount=type=cache,id=y,source=${source},target=/c cat /c/canary; touch /c/X\n`;
      await expect(lab.build(step)).rejects.toThrow(/cannot find the source of a mount: .*ENOENT/);
    }
    const top = `${BUSYBOX_BASE}RUN --mount=type=cache,id=y,source=../..,target=/c ls -A /c\n`;
    expect((await lab.build(top)).output).toBe("");
    expect(readdirSync(cachesOf(lab)).filter((name) => !/^[0-9a-f]{64}$/.test(name))).toEqual([]);
    expect(readdirSync(host)).toEqual(["canary"]);
  });

  test("nor does a secret's or an agent's", async () => {
    await using lab = await openLab();
    const secrets = { "../../../etc/x": Buffer.from("s") };
    const file = `${BUSYBOX_BASE}RUN --mount=type=secret,id=../../../etc/x ls /run/secrets; ls /etc | grep x || true\n`;
    const { output } = await lab.build(file, { secrets });
    expect(output).toBe("x\n");
    for (const id of ["..", "../..", "a/..", ".", "/"])
      await expect(
        lab.build(`FROM scratch\nRUN --mount=type=secret,id=${id} true\n`, {
          secrets: { [id]: Buffer.from("s") },
        }),
      ).rejects.toMatchObject({
        code: "syntax",
        message: `--mount has id="${id}", which names no file in /run/secrets`,
      });
  });
});

test.each(["bind", "cache"])(
  "C03: no option of a mount is slipped in by its propagation: %s",
  async (type) => {
    await using lab = await openLab();
    for (const value of ["suid", "dev,exec", "shared", "rshared", "rslave,suid"]) {
      const flag = `--mount=type=${type},target=/x,bind-propagation=${value}`;
      await expect(lab.build(`FROM scratch\nRUN ${flag} true\n`)).rejects.toMatchObject({ code: "syntax" });
    }
  },
);

describe("C05: a link in a cache as the source of another mount of it", () => {
  test.each(["native", "chroot"] as const)("leads nowhere by %s", async (isolation) => {
    await using lab = await openLab();
    const host = forbidden(lab.dir);
    await lab.build(
      `${BUSYBOX_BASE}RUN --mount=type=cache,id=x,target=/c ln -s ${host} /c/sel; ln -s / /c/top\n`,
      { isolation },
    );
    for (const source of ["sel", "sel/canary", "/sel/../sel"]) {
      const step = `${BUSYBOX_BASE}RUN --mount=type=cache,id=x,source=${source},target=/m cat /m/canary /m; touch /m/X\n`;
      await expect(lab.build(step, { isolation })).rejects.toThrow(/(source of a mount|\/m): .*ENOENT/);
    }
    const top = `${BUSYBOX_BASE}RUN --mount=type=cache,id=x,source=top,target=/m ls /m\n`;
    expect((await lab.build(top, { isolation })).output).toBe("sel\ntop\n");
    expect(readdirSync(host)).toEqual(["canary"]);
  });
});

describe("C04: a source that changes while it is mounted", () => {
  let bench: Bench;
  beforeAll(() => {
    bench = openBench();
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  test("is what it was or an error, never a path of the host, a thousand times", async () => {
    const host = forbidden(bench.dir);
    const cache = bench.layer();
    const swap = `while :; do rm -rf /c/sel; ln -s ${host} /c/sel; rm /c/sel; mkdir /c/sel; done`;
    const controller = new AbortController();
    const shared = { type: "bind", source: cache, target: "/c", readOnly: false } as const;
    const swapper = bench
      .run(["/bin/sh", "-c", swap], { mounts: [shared] }, controller.signal)
      .catch(() => undefined);
    const mount = { type: "bind", source: cache, inside: "sel", target: "/m", readOnly: false } as const;
    let mounted = 0;
    let seen = "";
    let round = 0;
    const lane = async (): Promise<void> => {
      while (round < 1000) {
        round += 1;
        const plan = bench.plan(["/bin/sh", "-c", "cat /m/canary 2>/dev/null; touch /m/X"], {
          mounts: [mount],
        });
        const onOutput = (_: string, chunk: Uint8Array): void => void (seen += Buffer.from(chunk).toString());
        const ran = await bench.sandbox.run(plan, { signal: new AbortController().signal, onOutput }).then(
          () => 1,
          () => 0,
        );
        mounted += ran;
      }
    };
    // Several at once, since the swapper keeps a processor busy for as long as they take.
    await Promise.all(Array.from({ length: 4 }, lane));
    controller.abort();
    await swapper;
    expect(seen).not.toContain("canary\n");
    expect(readdirSync(host)).toEqual(["canary"]);
    // Else nothing was tried.
    expect([mounted > 0, mounted < 1000]).toEqual([true, true]);
  }, 300_000);
});

test("C06: what was made to mount on is not removed through a link that the step puts in its way", async () => {
  await using lab = await openLab();
  const host = forbidden(lab.dir);
  writeFileSync(join(host, "victim"), "");
  mkdirSync(join(host, "place"));
  const file = `${BUSYBOX_BASE}RUN mkdir /a
RUN rm -rf /a
RUN --mount=type=tmpfs,target=/a/place --mount=type=secret,id=s,target=/a/victim mv /a /b && ln -s ${host} /a && echo swapped
`;
  const { output } = await lab.build(file, { secrets: { s: Buffer.from("s") } });
  expect(output).toBe("swapped\n");
  expect(readdirSync(host).toSorted()).toEqual(["canary", "place", "victim"]);
  expect(readFileSync(join(host, "canary"), "utf8")).toBe("canary\n");
});
