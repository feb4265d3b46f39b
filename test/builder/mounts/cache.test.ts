import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../../support/lab.js";

const base = `${BUSYBOX_BASE}FROM base\n`;

describe("a cache", () => {
  test("keeps what a RUN wrote for the next one of its id, in no layer and no key", async () => {
    await using lab = await openLab();
    const step = (flags: string, command: string): string =>
      `${base}RUN --mount=type=cache,${flags} ${command}\n`;
    await lab.build(step("target=/c", "echo kept > /c/f"));
    const second = step("target=/other,id=/c", "cat /other/f; ls /");
    const build = await lab.build(second);
    expect(build.output).toMatch(/^kept\n/);
    expect((await lab.build(second)).built).toEqual([]);
    const out = await lab.extract(build, second);
    expect(readdirSync(out)).not.toContain("other");
    expect((await lab.build(step("target=/other,id=another", "ls /other"))).output).toBe("");
  });

  test("has the mode and owner asked for, and is another one for each", async () => {
    await using lab = await openLab();
    const { output } = await lab.build(`${base}
RUN --mount=type=cache,target=/c stat -c '%a %u:%g' /c && touch /c/plain
RUN --mount=type=cache,target=/c,mode=0700,uid=5,gid=6 stat -c '%a %u:%g' /c && ls /c
USER 5:6
RUN --mount=type=cache,target=/c,mode=0700,uid=5,gid=6 touch /c/own && ls /c
`);
    expect(output).toBe("755 0:0\n700 5:6\nown\n");
  });

  test("at a relative target, read-only when it is said, several in one RUN, one of them twice", async () => {
    await using lab = await openLab();
    const { output } = await lab.build(`${base}WORKDIR /w
RUN --mount=type=cache,target=c,id=x echo 1 > /w/c/f
RUN --mount=type=cache,target=c,id=x,ro cat c/f; touch c/g 2>&1 || true
RUN --mount=type=cache,target=/a,id=x,sharing=locked --mount=type=cache,target=/b,id=x,sharing=locked cat /a/f /b/f
`);
    expect(output).toBe("1\ntouch: c/g: Read-only file system\n1\n1\n");
  });

  test("begins with what its `from` holds, and is another one for another beginning", async () => {
    await using lab = await openLab();
    lab.write({ "seed/sub/f": "seed\n" });
    const file = (mount: string): string => `FROM scratch AS seed
COPY --chown=4:4 seed /seed
${base}RUN --mount=type=cache,target=/c,${mount} cat /c/sub/f; stat -c %u /c/sub/f; echo more >> /c/sub/f
`;
    expect((await lab.build(file("from=seed,source=/seed"))).output).toBe("seed\n4\n");
    const again = await lab.build(file("from=seed,source=/seed"), { cache: false });
    expect(again.output).toBe("seed\nmore\n4\n");
    lab.write({ "seed/sub/f": "new\n" });
    expect((await lab.build(file("from=seed,source=/seed"))).output).toBe("new\n4\n");
    await expect(lab.build(file("from=seed,source=/none"))).rejects.toMatchObject({
      message: 'RUN --mount: source "/none" is no directory in stage "seed"',
      where: expect.stringMatching(/^Containerfile:7:5/),
    });
  });

  test("`source` without `from` is a path in it", async () => {
    await using lab = await openLab();
    await lab.build(`${base}RUN --mount=type=cache,target=/c,id=x mkdir /c/sub && echo in > /c/sub/f\n`);
    const { output } = await lab.build(`${base}RUN --mount=type=cache,target=/c,id=x,source=sub cat /c/f\n`);
    expect(output).toBe("in\n");
  });

  test("its type, target, id, options and beginning are part of the key", async () => {
    await using lab = await openLab();
    lab.write({ a: "a", b: "b" });
    const step = (flags: string): string => `FROM scratch AS one
COPY a /x/a
FROM scratch AS two
COPY b /x/b
${base}RUN --mount=type=cache,${flags} true\n`;
    const first = "target=/c";
    await lab.build(step(first));
    const variants = [
      "target=/d,id=/c",
      "target=/c,id=d",
      "target=/c,sharing=locked",
      "target=/c,ro",
      "target=/c,mode=0700",
      "target=/c,uid=1",
      "target=/c,gid=1",
      "target=/c,noexec",
      "target=/c,from=one",
      "target=/c,from=two",
      "target=/c,from=one,source=/x",
    ];
    for (const flags of variants) {
      const { built } = await lab.build(step(flags));
      expect([flags, built.filter((text) => text.startsWith("RUN --mount")).length]).toEqual([flags, 1]);
    }
    expect((await lab.build(step(first))).built).toEqual([]);
  });
});
