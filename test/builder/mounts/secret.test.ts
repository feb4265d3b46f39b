import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../../src/index.js";
import { BUSYBOX_BASE, openLab } from "../../support/lab.js";

const secrets = { token: Buffer.from("hush\n") };
const run = (flags: string, command: string): string => `${BUSYBOX_BASE}RUN ${flags} ${command}\n`;

describe("a secret", () => {
  test("is a file below /run/secrets, 0400 and root's, unless it is told otherwise", async () => {
    await using lab = await openLab();
    const look = "stat -c '%a %u:%g' /run/secrets/token && cat /run/secrets/token";
    const plain = await lab.build(run("--mount=type=secret,id=token", look), { secrets });
    expect(plain.output).toBe("400 0:0\nhush\n");
    const flags = "--mount=type=secret,id=token,target=own/place,mode=0440,uid=7,gid=8";
    const file = `${BUSYBOX_BASE}WORKDIR /w\nRUN ${flags} stat -c '%a %u:%g' /w/own/place\n`;
    const build = await lab.build(file, { secrets });
    expect(build.output).toBe("440 7:8\n");
  });

  test("comes from a file, read when it is needed, or from a variable", async () => {
    await using lab = await openLab();
    const path = join(lab.dir, "secret");
    writeFileSync(path, "from a file\n");
    const file = run("--mount=type=secret,id=s", "cat /run/secrets/s");
    expect((await lab.build(file, { secrets: { s: { file: path } } })).output).toBe("from a file\n");
    process.env["COOPER_TEST_SECRET"] = "from a variable\n";
    const again = { secrets: { s: { env: "COOPER_TEST_SECRET" } }, cache: false };
    expect((await lab.build(file, again)).output).toBe("from a variable\n");
    delete process.env["COOPER_TEST_SECRET"];
  });

  test("as a variable: of this process only, and a file only if it has a target too", async () => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}ENV T=of-the-image
RUN --mount=type=secret,id=token,env=T echo "[$T]"; ls /run 2>&1 || true
RUN --mount=type=secret,id=token,env=T,target=/t echo "[$T]"; cat /t
RUN echo "[$T]"
`;
    const { output, result } = await lab.build(file, { secrets: { token: Buffer.from("hush") } });
    expect(output).toBe("[hush]\nls: /run: No such file or directory\n[hush]\nhush[of-the-image]\n");
    expect(JSON.stringify(result.config)).not.toContain("hush");
  });

  test("that was not given: nothing is mounted, or with `required` the step fails", async () => {
    await using lab = await openLab();
    const optional = run("--mount=type=secret,id=no", "ls /run 2>&1 || true");
    expect((await lab.build(optional)).output).toBe("ls: /run: No such file or directory\n");
    const failure = lab.build(run("--mount=type=secret,id=no,required", "true"));
    await expect(failure).rejects.toMatchObject({
      code: "not-found",
      message: 'RUN --mount: secret "no" was not given',
      hint: "give it: --secret id=no,src=FILE or --secret id=no,env=VARIABLE",
      where: expect.stringMatching(/^Containerfile:4:5/),
    });
  });

  test("changes no key by its value, but by everything that is said of it", async () => {
    await using lab = await openLab();
    const step = (more: string): string => run(`--mount=type=secret,id=token${more}`, "true");
    const built = async (more: string, options: Partial<BuildOptions> = { secrets }): Promise<number> =>
      (await lab.build(step(more), options)).built.filter((text) => text.includes("secret")).length;
    expect(await built("")).toBe(1);
    expect(await built("", { secrets: { token: Buffer.from("other") } })).toBe(0);
    expect(await built("", {})).toBe(0);
    for (const more of [",target=/x", ",mode=0444", ",uid=3", ",gid=3", ",env=T", ",required", ",rw"])
      expect([more, await built(more), await built(more)]).toEqual([more, 1, 0]);
    expect((await lab.build(step("").replace("token", "other"))).built).toHaveLength(1);
  });
});

describe("a secret that cannot be had is told before the first step", () => {
  const give = async (secret: NonNullable<BuildOptions["secrets"]>[string]): Promise<unknown> => {
    await using lab = await openLab();
    const events: string[] = [];
    const options = {
      secrets: { s: secret },
      onEvent: (event: { type: string }) => void events.push(event.type),
    };
    const error: unknown = await lab.build("FROM scratch\nENV A=1\n", options).catch((one: unknown) => one);
    expect(events).toEqual([]);
    return error;
  };

  test.each([
    [{ file: "/no/such/secret" }, "not-found", "secret s: there is no file /no/such/secret"],
    [{ file: "/tmp" }, "usage", "secret s: /tmp is not a file"],
    [{ env: "COOPER_NO_SUCH" }, "not-found", "secret s: the variable COOPER_NO_SUCH is not set"],
    [Buffer.alloc(500 * 1024 + 1), "usage", "secret s is larger than 500 KiB"],
  ])("%o", async (secret, code, message) => {
    expect(await give(secret)).toMatchObject({ code, message });
  });
});

test("several secrets and a tmpfs in one RUN, each in its place, none in the layer", async () => {
  await using lab = await openLab();
  const file = run(
    "--mount=type=secret,id=a --mount=type=secret,id=b,target=/etc/deep/b --mount=type=tmpfs,target=/t,size=64k,ro=false",
    "cat /run/secrets/a /etc/deep/b; df -k /t | tail -1 | awk '{print $2}'; touch /t/x; stat -c %a /t",
  );
  const build = await lab.build(file, { secrets: { a: Buffer.from("A\n"), b: Buffer.from("B\n") } });
  expect(build.output).toBe("A\nB\n64\n1777\n");
  const out = await lab.extract(build, file);
  for (const path of ["run", "etc", "t"]) expect(() => readFileSync(join(out, path))).toThrow(/ENOENT/);
  chmodSync(out, 0o755);
});
