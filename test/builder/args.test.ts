import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";

/** Value of a variable of the config that a Containerfile makes. */
async function env(
  containerfile: string,
  options: Parameters<Awaited<ReturnType<typeof openLab>>["build"]>[1] = {},
): Promise<Readonly<Record<string, string>>> {
  await using lab = await openLab();
  const { result } = await lab.build(containerfile, options);
  const lines = result.config.config.Env ?? [];
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

describe("ARG", () => {
  test.each([
    ["the later of ENV and ARG counts", "FROM scratch\nENV a=env\nARG a=arg\nENV X=$a\n", "arg"],
    ["ENV after ARG counts", "FROM scratch\nARG a=arg\nENV a=env\nENV X=$a\n", "env"],
    ["a bare ARG keeps what ENV set", "FROM scratch\nENV a=env\nARG a\nENV X=$a\n", "env"],
    ["a bare ARG keeps an earlier default", "FROM scratch\nARG a=1\nARG a\nENV X=$a\n", "1"],
    ["a default sees ARGs of the same instruction", "FROM scratch\nARG a=1 b=$a\nENV X=$a-$b\n", "1-1"],
    ["a global one must be declared", "ARG g=glob\nFROM scratch\nENV X=[$g]\n", "[]"],
    ["a bare ARG gets the global value", "ARG g=glob\nFROM scratch\nARG g\nENV X=$g\n", "glob"],
    ["again after a default", "ARG g=glob\nFROM scratch\nARG g=own\nARG g\nENV X=$g\n", "glob"],
    ["without a value it is not set", "FROM scratch\nARG a\nENV X=${a-unset}\n", "unset"],
    ["an empty value is one", "FROM scratch\nARG a=\nENV X=${a-unset}\n", ""],
    ["global defaults see earlier ones", "ARG A=1 B=$A\nARG C=${B}x\nFROM scratch\nARG C\nENV X=$C\n", "1x"],
    ["FROM a stage inherits", "FROM scratch AS a\nARG x=1\nFROM a\nENV X=$x\n", "1"],
    ["platform ARGs must be declared", "FROM scratch\nENV X=[$TARGETOS]\n", "[]"],
    ["a default beats a platform ARG", "FROM scratch\nARG TARGETOS=mine\nENV X=$TARGETOS\n", "mine"],
    ["versions are empty", "FROM scratch\nARG TARGETOSVERSION\nENV X=[${TARGETOSVERSION-unset}]\n", "[]"],
    ["TARGETSTAGE has a name", "FROM scratch\nARG TARGETSTAGE\nENV X=$TARGETSTAGE\n", "default"],
    ["TARGETSTAGE is the target", "FROM scratch AS end\nARG TARGETSTAGE\nENV X=$TARGETSTAGE\n", "end"],
  ])("%s", async (_what, containerfile, expected) => {
    expect((await env(containerfile))["X"]).toBe(expected);
  });

  test("--build-arg beats defaults, wherever the ARG stands, and platform ARGs", async () => {
    const buildArgs = { g: "cli", own: "cli", TARGETARCH: "vax" };
    const file = "ARG g=1\nARG d=$g/$TARGETARCH\nFROM scratch\nARG d\nARG own=2\nENV X=$d Y=$own\n";
    expect(await env(file, { buildArgs })).toMatchObject({ X: "cli/vax", Y: "cli" });
  });

  test("--build-arg without a value and without a variable of that name changes nothing", async () => {
    const buildArgs = { COOPER_TEST_UNSET: undefined };
    expect(
      await env("FROM scratch\nARG COOPER_TEST_UNSET=d\nENV X=$COOPER_TEST_UNSET\n", { buildArgs }),
    ).toMatchObject({
      X: "d",
    });
  });

  test("--build-arg with a NUL is refused before anything is built with it", async () => {
    const buildArgs = { x: "a\0b" };
    for (const line of ["COPY busybox /$x", "RUN --mount=source=$x,target=/m true", "WORKDIR /$x"])
      await expect(env(`FROM scratch\nARG x\n${line}\n`, { buildArgs })).rejects.toMatchObject({
        code: "usage",
        message: "the build argument x holds a NUL character",
      });
  });

  test("a process sees set ARGs and no unset ones; the history tells all of them in order", async () => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}ARG b=2\nARG a=1 none\nARG b=3\nENV a=env\nRUN env | grep -E '^(a|b|none)=' | sort\n`;
    const { output, result } = await lab.build(file);
    expect(output).toBe("a=env\nb=3\n");
    expect(result.config.history.at(-1)?.created_by).toBe(
      "RUN |3 b=3 a=env none= /bin/sh -c env | grep -E '^(a|b|none)=' | sort",
    );
  });

  test("an ARG that is set to nothing is another key than one that is not set", async () => {
    await using lab = await openLab();
    const file = (arg: string) => `${BUSYBOX_BASE}ARG ${arg}\nRUN echo "[\${a-unset}]"\n`;
    expect((await lab.build(file("a"))).output).toBe("[unset]\n");
    expect((await lab.build(file("a="))).output).toBe("[]\n");
  });

  test("proxy settings reach the process, and neither history nor key, unless declared", async () => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}RUN echo $HTTP_PROXY\n`;
    const first = await lab.build(file, { buildArgs: { HTTP_PROXY: "http://one" } });
    expect(first.output).toBe("http://one\n");
    expect(JSON.stringify(first.result.config)).not.toContain("http://one");
    expect((await lab.build(file, { buildArgs: { HTTP_PROXY: "http://two" } })).built).toEqual([]);
    const declared = `${BUSYBOX_BASE}ARG HTTP_PROXY\nRUN echo $HTTP_PROXY\n`;
    const own = await lab.build(declared, { buildArgs: { HTTP_PROXY: "http://two" } });
    expect(own.result.config.history.at(-1)?.created_by).toContain("|1 HTTP_PROXY=http://two ");
    // What is not declared is nowhere in the store, what is is in no record of the cache.
    const found = (text: string, dir: string) => spawnSync("grep", ["-rqF", text, join(lab.dir, dir)]).status;
    expect([found("http://one", "root"), found("http://two", "root/cache")]).toEqual([1, 1]);
    expect(found("http://two", "root/blobs")).toBe(0);
  });

  test("build args that nothing declares are warned of; declared, predefined and platform ones are not", async () => {
    await using lab = await openLab();
    const { events } = await lab.build("ARG g\nFROM scratch\nARG s\nENV A=1\n", {
      buildArgs: { g: "1", s: "1", nope: "1", TARGETARCH: "x", BUILDKIT_INLINE_CACHE: "1", no_proxy: "x" },
    });
    expect(events.flatMap((event) => (event.type === "warning" ? [event.message] : []))).toEqual([
      "build arg nope is not declared by any ARG of Containerfile",
    ]);
  });
});
