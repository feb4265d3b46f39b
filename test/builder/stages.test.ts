import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLab } from "../support/lab.js";

describe("names of stages", () => {
  test.each([
    [
      "the latest of two stages of one name",
      "FROM scratch AS x\nCOPY a /a\nFROM scratch AS X\nCOPY b /a\nFROM scratch\nCOPY --from=x a /r\n",
    ],
    ["by number", "FROM scratch\nCOPY b /a\nFROM scratch\nCOPY --from=0 a /r\n"],
    ["by number with zeros", "FROM scratch\nCOPY b /a\nFROM scratch\nCOPY --from=00 a /r\n"],
    ["case does not matter", "FROM scratch AS Up\nCOPY b /r\nFROM uP\nENV A=1\n"],
    ["a stage may be called scratch", "FROM scratch AS scratch\nCOPY b /r\nFROM scratch\nENV A=1\n"],
    ["an ARG of the stage", "FROM scratch AS x\nCOPY b /a\nFROM scratch\nARG S=x\nCOPY --from=$S a /r\n"],
    [
      "a global ARG with a default",
      "ARG S\nFROM scratch AS x\nCOPY b /a\nFROM scratch\nARG S\nCOPY --from=${S:-x} a /r\n",
    ],
    [
      "ENV of a stage below",
      "FROM scratch AS x\nCOPY b /a\nFROM scratch AS y\nENV S=x\nFROM y\nCOPY --from=$S a /r\n",
    ],
    ["nothing: the context", "FROM scratch\nCOPY --from= b /r\n"],
  ])("%s", async (_what, containerfile) => {
    await using lab = await openLab();
    lab.write({ a: "a", b: "b" });
    const dest = await lab.extract(await lab.build(containerfile), containerfile);
    expect(readFileSync(join(dest, "r"), "utf8")).toBe("b");
  });

  test.each([
    ["FROM scratch\nCOPY --from=0 a /r", "COPY --from=0: a stage cannot copy from itself", "not-found"],
    [
      "FROM scratch AS me\nCOPY --from=ME a /r",
      "COPY --from=ME: a stage cannot copy from itself",
      "not-found",
    ],
    ["FROM scratch\nCOPY --from=1 a /r", "COPY --from=1: there is no stage 1", "not-found"],
    ["FROM scratch\nCOPY --from=-1 a /r", "COPY --from=-1: there is no stage -1", "not-found"],
    [
      "FROM scratch\nCOPY --from=x a /r\nFROM scratch AS x\nENV A=1",
      "COPY --from=x: a stage can only copy from stages before it",
      "not-found",
    ],
    [
      "FROM scratch\nCOPY --from=$no a /r",
      "COPY --from=$no: it is empty once its variables are filled in",
      "syntax",
    ],
    ["FROM scratch\nCOPY --from=scratch a /r", "is not in scratch", "not-found"],
    ["FROM x AS y\nFROM y AS x\nENV A=1", "image x is not stored here, and pulling is off", "not-found"],
    ["FROM ${a:-}\nENV A=1", "FROM ${a:-}: it is empty once its variables are filled in", "syntax"],
    [
      "FROM --platform=$P scratch\nENV A=1",
      "FROM --platform $P: it is empty once its variables are filled in",
      "syntax",
    ],
    ["FROM Nope\nENV A=1", "repository name must be lower case", "invalid-name"],
  ])("%j", async (containerfile, message, code) => {
    await using lab = await openLab();
    lab.write({ a: "a" });
    const error = await lab.build(`${containerfile}\n`, { pull: "never" }).then(
      () => undefined,
      (thrown: unknown) => thrown as Error,
    );
    expect(error).toMatchObject({ code, where: expect.stringMatching(/^Containerfile:\d+:\d+$/) });
    expect(error?.message).toContain(message);
  });

  test("a variable that only the base image can set names no stage", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nENV S=x\n", { tags: ["base"] });
    const file = "FROM scratch AS x\nCOPY . /\nFROM localhost/base\nCOPY --from=$S a /r\n";
    await expect(lab.build(file)).rejects.toMatchObject({
      code: "syntax",
      message: "COPY --from=$S: it has a variable that only the base image can set",
      where: "Containerfile:4:6",
    });
  });

  test.each([
    ["ONE", "one"],
    ["0", "one"],
    ["1", "two"],
  ])("--target %s", async (target, expected) => {
    await using lab = await openLab();
    const file = "FROM scratch AS one\nENV X=one\nFROM scratch AS two\nENV X=two\n";
    const { result } = await lab.build(file, { target });
    expect(result.config.config.Env).toContain(`X=${expected}`);
  });

  test("a target that is not there is named, with the one that was meant", async () => {
    await using lab = await openLab();
    const file = "FROM scratch AS release\nENV A=1\n";
    await expect(lab.build(file, { target: "relaese" })).rejects.toMatchObject({
      hint: "did you mean release?",
    });
    await expect(lab.build(file, { target: "other" })).rejects.toMatchObject({
      hint: "its stages are release",
    });
  });
});

describe("--build-context", () => {
  test("a directory takes the place of a stage, of FROM and of --from, and has its own ignore file", async () => {
    await using lab = await openLab();
    lab.write({ a: "main" });
    const other = join(lab.dir, "other");
    mkdirSync(other);
    writeFileSync(join(other, "a"), "other");
    writeFileSync(join(other, "hidden"), "x");
    writeFileSync(join(other, ".containerignore"), "hidden\n");
    const buildContexts = { Dep: other };
    for (const file of [
      "FROM scratch\nCOPY --from=dep a /a\n",
      "FROM scratch AS dep\nCOPY a /a\nFROM scratch\nCOPY --from=DEP a /a\n",
      "FROM scratch AS dep\nCOPY a /a\nFROM dep\nENV A=1\n",
      "FROM scratch AS first\nCOPY a /a\nFROM scratch AS dep\nCOPY a /a\nFROM scratch\nCOPY --from=1 a /a\n",
      "FROM dep\n",
    ]) {
      const out = join(lab.dir, "out");
      await lab.build(file, { buildContexts, outputs: [{ type: "local", dest: out }] });
      expect(readFileSync(join(out, "a"), "utf8")).toBe("other");
      expect((await lab.build(file, { buildContexts })).built).toEqual([]);
    }
    const ignored = lab.build("FROM scratch\nCOPY --from=dep hidden /\n", { buildContexts });
    await expect(ignored).rejects.toThrow('build context "dep"');
  });

  test("an image takes the place of an image of that name, however it is spelled", async () => {
    await using lab = await openLab();
    await lab.build("FROM scratch\nENV FROM_MINE=1\n", { tags: ["mine"] });
    for (const [name, base] of [
      ["alpine", "alpine"],
      ["alpine", "docker.io/library/alpine:latest"],
      ["docker.io/library/alpine:latest", "alpine"],
      ["registry.invalid/x:3", "registry.invalid/x:3"],
    ] as const) {
      const buildContexts = { [name]: "docker-image://localhost/mine" };
      const { result } = await lab.build(`FROM ${base}\nENV A=1\n`, { buildContexts, pull: "never" });
      expect(result.config.config.Env).toContain("FROM_MINE=1");
    }
    const { result } = await lab.build("FROM alpine\nENV A=1\n", {
      buildContexts: { alpine: "docker-image://scratch" },
    });
    expect(result.config.rootfs.diff_ids).toEqual([]);
  });

  test("an OCI layout gives an image, by tag or digest", async () => {
    await using lab = await openLab();
    const layout = join(lab.dir, "layout");
    await lab.build("FROM scratch\nENV V=1\n", { tags: ["registry.example/kept:v1"] });
    await lab.cooper.save(["registry.example/kept:v1"], { format: "oci-dir", dest: layout });
    await lab.cooper.remove(["registry.example/kept:v1"]);
    const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
      manifests: { digest: string }[];
    };
    for (const version of ["", ":v1", `@${index.manifests[0]?.digest ?? ""}`]) {
      const buildContexts = { dep: `oci-layout://${layout}${version}` };
      const { result } = await lab.build("FROM dep\nENV A=1\n", { buildContexts, pull: "never" });
      expect(result.config.config.Env).toContain("V=1");
    }
    const missing = lab.build("FROM dep\nENV A=1\n", { buildContexts: { dep: `oci-layout://${layout}:v2` } });
    await expect(missing).rejects.toMatchObject({ code: "not-found", where: "Containerfile:1:6" });
    expect((await lab.cooper.images()).flatMap(({ names }) => names)).not.toContain(
      "registry.example/kept:v1",
    );
  });

  test.each([
    [{ dep: "" }, "usage", "--build-context dep: it does not say what it stands for"],
    [{ "a b": "." }, "usage", "--build-context a b: this cannot be the name of a stage or image"],
    [{ dep: "/nonexistent/x" }, "not-found", "--build-context dep: there is no directory /nonexistent/x"],
    [{ dep: "/etc/passwd" }, "usage", "--build-context dep: /etc/passwd is no directory"],
    [{ dep: "docker-image://Bad^" }, "invalid-name", "Bad^"],
    [{ dep: "s3://bucket" }, "unsupported", "--build-context dep: s3:// URLs cannot be contexts"],
  ])("%j is refused", async (buildContexts, code, message) => {
    await using lab = await openLab();
    const failure = lab.build("FROM scratch\nENV A=1\n", { buildContexts });
    await expect(failure).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });
});
