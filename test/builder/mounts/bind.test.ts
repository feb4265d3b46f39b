import { chmodSync, mkdirSync, readFileSync, symlinkSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../../support/lab.js";

describe("a bind of the build context", () => {
  test("shows what the ignore file lets through, root's, read-only, and leaves no trace", async () => {
    await using lab = await openLab();
    lab.write({ "src/a": "a\n", "src/b": "b\n", ".dockerignore": "src/b\n" });
    symlinkSync("a", join(lab.context, "src/link"));
    const file = `${BUSYBOX_BASE}WORKDIR /w
RUN --mount=target=src,source=src ls -A src; cat src/link; stat -c '%u:%g' src/a; touch src/x || true
RUN --mount=target=/ctx ls /ctx; ls -A /w /ctx/src
`;
    const build = await lab.build(file);
    const files = ".dockerignore\nbusybox\nsrc\n".replace(".dockerignore\n", "");
    expect(build.output).toContain("a\nlink\na\n0:0\n");
    expect(build.output).toContain(`${files}/ctx/src:\na\nlink\n\n/w:\n`);
    expect(build.output).toMatch(/touch: src\/x: Read-only file system/);
    const out = await lab.extract(build, file);
    expect(() => readFileSync(join(out, "w/src"))).toThrow(/ENOENT/);
    expect(() => readFileSync(join(out, "ctx"))).toThrow(/ENOENT/);
  });

  test("of one file; writable with rw, and what is written is gone", async () => {
    await using lab = await openLab();
    lab.write({ "d/note": { text: "note\n", mode: 0o600 } });
    const { output } = await lab.build(`${BUSYBOX_BASE}RUN --mount=target=/n,source=d/note cat /n
RUN --mount=target=/d,source=d,rw echo more >> /d/note; touch /d/new; ls /d; cat /d/note
RUN --mount=target=/d,source=/d ls /d; cat /d/note
`);
    expect(output).toBe("note\nnew\nnote\nnote\nmore\nnote\nnote\n");
    expect(readFileSync(join(lab.context, "d/note"), "utf8")).toBe("note\n");
  });

  test("is part of the key by content: not by time, not by the name of the source", async () => {
    await using lab = await openLab();
    lab.write({ "d/a": "1", "e/a": "1", other: "x" });
    const step = (source: string): string =>
      `${BUSYBOX_BASE}RUN --mount=target=/d,source=${source} cat /d/a\n`;
    await lab.build(step("d"));
    utimesSync(join(lab.context, "d/a"), 1, 1);
    lab.write({ other: "y" });
    expect((await lab.build(step("d"))).built).toEqual([]);
    expect((await lab.build(step("e"))).built).toEqual([]);
    lab.write({ "d/a": "2" });
    const changed = await lab.build(step("d"));
    expect(changed.output).toBe("2");
    expect([...changed.reasons.values()]).toEqual([expect.stringContaining("d/a")]);
    chmodSync(join(lab.context, "d/a"), 0o755);
    expect((await lab.build(step("d"))).built).toHaveLength(1);
    lab.write({ "d/b": "" });
    expect((await lab.build(step("d"))).built).toHaveLength(1);
  });

  test("two of one step whose contents change places are another step", async () => {
    await using lab = await openLab();
    lab.write({ "d/a": "1", "e/a": "2" });
    const file = `${BUSYBOX_BASE}RUN --mount=target=/d,source=d --mount=target=/e,source=e cat /d/a /e/a\n`;
    await lab.build(file);
    lab.write({ "d/a": "2", "e/a": "1" });
    expect((await lab.build(file)).output).toBe("21");
  });

  test("of what is not there is told with the place, before the step", async () => {
    await using lab = await openLab();
    lab.write({ hidden: "x", ".dockerignore": "hidden\n" });
    const missing = lab.build("FROM scratch\nRUN --mount=target=/d,source=nowhere true\n");
    await expect(missing).rejects.toMatchObject({
      code: "not-found",
      message: 'RUN --mount: source "nowhere" not found in the build context',
      where: expect.stringMatching(/^Containerfile:2:5/),
    });
    const ignored = lab.build("FROM scratch\nRUN --mount=target=/d,source=hidden true\n");
    await expect(ignored).rejects.toMatchObject({ hint: expect.stringContaining("ignore file") });
  });
});

describe("a bind of a stage, image or named context", () => {
  const two = (flags: string, command: string): string => `${BUSYBOX_BASE}
FROM base AS made
RUN mkdir -p /out/deep && echo one > /out/a && chown 5:6 /out/a && ln -s /out /link
FROM base
RUN ${flags} ${command}
`;

  test("shows a path of it, with its owners, through its own links", async () => {
    await using lab = await openLab();
    const { output } = await lab.build(
      two("--mount=from=made,source=/link,target=/m", "ls /m; stat -c %u:%g /m/a; touch /m/x || true"),
    );
    expect(output).toContain("a\ndeep\n5:6\n");
    expect(output).toMatch(/Read-only/);
  });

  test("without a source shows all of it; what is written is discarded, and not seen by the next", async () => {
    await using lab = await openLab();
    const { output } = await lab.build(
      `${two("--mount=from=made,target=/m,rw", "echo two > /m/out/a; cat /m/out/a")}
RUN --mount=from=made,target=/m,rw cat /m/out/a
`,
    );
    expect(output).toBe("two\none\n");
  });

  test("makes the stage a dependency, by name, number and in ONBUILD", async () => {
    await using lab = await openLab();
    await lab.build(`${BUSYBOX_BASE}ONBUILD RUN --mount=from=dep,target=/m cat /m/f\n`, { tags: ["parent"] });
    lab.write({ f: "of dep\n" });
    const file =
      "FROM scratch AS unused\nCOPY nowhere /\nFROM scratch AS dep\nCOPY f /f\nFROM localhost/parent\nRUN --mount=from=1,target=/n cat /n/f\n";
    expect((await lab.build(file)).output).toBe("of dep\nof dep\n");
  });

  test("of an image, and of a directory by --build-context", async () => {
    await using lab = await openLab();
    lab.write({ f: "image\n" });
    await lab.build("FROM scratch\nCOPY f /f\n", { tags: ["data"] });
    mkdirSync(join(lab.dir, "named"));
    symlinkSync("/bin", join(lab.dir, "named/link"));
    lab.write({ "../named/f": "named\n" });
    const { output } = await lab.build(
      `${BUSYBOX_BASE}RUN --mount=from=localhost/data,source=f,target=/f cat /f
RUN --mount=from=ctx,target=/c cat /c/f; readlink /c/link
`,
      { buildContexts: { ctx: join(lab.dir, "named") } },
    );
    expect(output).toBe("image\nnamed\n/bin\n");
  });

  test("is part of the key by content: the same files from a stage that was built anew are a hit", async () => {
    await using lab = await openLab();
    const file = (comment: string, text: string): string => `${BUSYBOX_BASE}
FROM base AS made
RUN echo ${text} > /f; : ${comment}
FROM base
RUN --mount=from=made,source=/f,target=/f cat /f
`;
    await lab.build(file("x", "one"));
    expect((await lab.build(file("y", "one"))).built).toEqual(["RUN echo one > /f; : y"]);
    expect((await lab.build(file("y", "two"))).output).toBe("two\n");
  });

  test("its name may hold variables that are known before the build", async () => {
    await using lab = await openLab();
    const file = two("--mount=from=$NAME,target=/m", "ls /m/out").replace(
      "FROM base\n",
      "FROM base\nARG NAME=made\n",
    );
    expect((await lab.build(file)).output).toBe("a\ndeep\n");
    await lab.build(BUSYBOX_BASE, { tags: ["tools"] });
    const open = lab.build("FROM localhost/tools\nRUN --mount=from=$X,target=/m true\n");
    await expect(open).rejects.toMatchObject({
      message: "RUN --mount from=$X: it has a variable that only the base image can set",
    });
  });
});
