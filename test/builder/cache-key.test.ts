import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, lutimesSync, rmSync, symlinkSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import type { Lab } from "../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import { testWith } from "../support/packages.js";

/** One input of a step that changes between two builds. */
interface Variation {
  readonly name: string;
  /** Lines after the base; the last one is the step that is looked at. */
  readonly before: string;
  /** The lines of the second build, when the Containerfile is what changes. */
  readonly after?: string;
  readonly change?: (lab: Lab) => void;
  readonly options?: Partial<BuildOptions>;
}

function writeContext(lab: Lab): void {
  lab.write({ "d/a": "a", "d/b": "b", "e/a": "a", "e/b": "b", passwd: "bob:x:5:6::/home/bob:/bin/sh\n" });
  lab.write({ ".dockerignore": "d/.keep\n" });
  symlinkSync("a", join(lab.context, "d/link"));
}

/** True when the last step was built again. */
async function isRebuilt(variation: Variation, base: string): Promise<boolean> {
  await using lab = await openLab();
  writeContext(lab);
  const steps = (text: string): string => `${base}${text}\n`;
  await lab.build(steps(variation.before));
  variation.change?.(lab);
  const next = await lab.build(steps(variation.after ?? variation.before), variation.options);
  const last = (variation.after ?? variation.before).split("\n").at(-1) ?? "";
  expect([...next.built, ...next.cached]).toContain(last);
  return next.built.includes(last);
}

const inContext = (lab: Lab, path: string): string => join(lab.context, path);
const copy = "COPY d /x";

describe("S04: COPY must miss", () => {
  const cases: readonly Variation[] = [
    { name: "content", before: copy, change: (lab) => lab.write({ "d/a": "A" }) },
    { name: "a new file", before: copy, change: (lab) => lab.write({ "d/c": "" }) },
    { name: "a file gone", before: copy, change: (lab) => rmSync(inContext(lab, "d/b")) },
    {
      name: "two files that swap names",
      before: copy,
      change: (lab) => lab.write({ "d/a": "b", "d/b": "a" }),
    },
    { name: "mode", before: copy, change: (lab) => chmodSync(inContext(lab, "d/a"), 0o600) },
    { name: "setuid", before: copy, change: (lab) => chmodSync(inContext(lab, "d/a"), 0o4644) },
    {
      name: "a link's target",
      before: copy,
      change: (lab) => {
        rmSync(inContext(lab, "d/link"));
        symlinkSync("b", inContext(lab, "d/link"));
      },
    },
    {
      name: "a link that becomes a file of the same text",
      before: copy,
      change: (lab) => {
        rmSync(inContext(lab, "d/link"));
        lab.write({ "d/link": "a" });
      },
    },
    {
      name: "files that become hard links",
      before: "COPY d e /x/",
      change: (lab) => {
        rmSync(inContext(lab, "d/b"));
        linkSync(inContext(lab, "d/a"), inContext(lab, "d/b"));
      },
    },
    { name: "a file that becomes an empty directory", before: "COPY d/a /x/", change: asDirectory },
    { name: "another source with the same files", before: copy, after: "COPY e /x" },
    { name: "another name for the same file", before: "COPY d/a /x/", after: "COPY e/b /x/" },
    { name: "the destination", before: copy, after: "COPY d /y" },
    { name: "a trailing slash", before: "COPY d/a /x", after: "COPY d/a /x/" },
    { name: "--chown", before: "COPY --chown=1 d /x", after: "COPY --chown=2 d /x" },
    { name: "--chmod", before: "COPY --chmod=700 d /x", after: "COPY --chmod=755 d /x" },
    { name: "ADD in COPY's place", before: copy, after: "ADD d /x" },
    { name: "WORKDIR below a relative path", before: "WORKDIR /p\nCOPY d x", after: "WORKDIR /q\nCOPY d x" },
    { name: "ARG in the destination", before: "ARG D=x\nCOPY d /$D", after: "ARG D=y\nCOPY d /$D" },
    {
      name: "ARG in --chown",
      before: "ARG U=1\nCOPY --chown=$U d /x",
      after: "ARG U=2\nCOPY --chown=$U d /x",
    },
    {
      name: "the user that --chown names",
      before: "COPY passwd /etc/passwd\nCOPY --chown=bob d /x",
      change: (lab) => lab.write({ passwd: "bob:x:7:8::/:/bin/sh\n" }),
    },
    {
      name: "a heredoc's text",
      before: "COPY <<E /x\na\nE\nCOPY d /y",
      after: "COPY <<E /x\nb\nE\nCOPY d /y",
    },
    {
      name: "the layer below",
      before: "COPY d/a /low\nCOPY d /x",
      change: (lab) => lab.write({ "d/a": "A" }),
    },
    { name: "the ignore file", before: copy, change: (lab) => lab.write({ ".dockerignore": "d/b\n" }) },
  ];
  test.each(cases)("$name", async (variation) => {
    expect(await isRebuilt(variation, "FROM scratch\n")).toBe(true);
  });

  testWith(["getfattr"], "an extended attribute", async () => {
    const setAttribute = (lab: Lab): void => {
      execFileSync("setfattr", ["-n", "user.k", "-v", "v", inContext(lab, "d/a")]);
    };
    const variation = { name: "xattr", before: copy, change: setAttribute };
    expect(await isRebuilt(variation, "FROM scratch\n")).toBe(true);
  });
});

function asDirectory(lab: Lab): void {
  rmSync(inContext(lab, "d/a"));
  execFileSync("mkdir", [inContext(lab, "d/a")]);
}

describe("S04: COPY must hit", () => {
  const cases: readonly Variation[] = [
    { name: "nothing", before: copy },
    {
      name: "times",
      before: copy,
      change: (lab) => {
        utimesSync(inContext(lab, "d/a"), 1, 1);
        lutimesSync(inContext(lab, "d/link"), 1, 1);
      },
    },
    {
      name: "the same files made again in another order",
      before: copy,
      change: (lab) => {
        for (const name of ["d/a", "d/b"]) rmSync(inContext(lab, name));
        lab.write({ "d/b": "b", "d/a": "a" });
      },
    },
    { name: "the owner of the checkout", before: copy, change: (lab) => chown(lab, "d/a") },
    {
      name: "the mode of the source itself",
      before: copy,
      change: (lab) => chmodSync(inContext(lab, "d"), 0o700),
    },
    {
      name: "files that are not copied",
      before: copy,
      change: (lab) => lab.write({ "e/c": "", "e/a": "A" }),
    },
    { name: "an ignored file", before: copy, change: (lab) => lab.write({ "d/.keep": "" }) },
    {
      name: "a label, a command and an environment before it",
      before: `ENV A=1\n${copy}`,
      after: `LABEL a=1\nCMD x\nENV A=2\n${copy}`,
    },
    { name: "an ARG that it does not name", before: `ARG A=1\n${copy}`, after: `ARG A=2\n${copy}` },
    { name: "a comment and other blanks", before: copy, after: `# why\n${copy}` },
    { name: "an ARG for the same value", before: copy, after: `ARG S=d\nCOPY $S /x` },
  ];
  test.each(cases)("$name", async (variation) => {
    expect(await isRebuilt(variation, "FROM scratch\n")).toBe(false);
  });
});

function chown(lab: Lab, path: string): void {
  execFileSync("chown", ["7:8", inContext(lab, path)]);
}

const run = "RUN true";

describe("S03, S04: RUN must miss", () => {
  const cases: readonly Variation[] = [
    { name: "ENV", before: `ENV A=1\n${run}`, after: `ENV A=2\n${run}` },
    { name: "ARG with a default", before: `ARG A=1\n${run}`, after: `ARG A=2\n${run}` },
    { name: "--build-arg", before: `ARG A=1\n${run}`, options: { buildArgs: { A: "2" } } },
    { name: "an empty --build-arg", before: `ARG A=1\n${run}`, options: { buildArgs: { A: "" } } },
    { name: "USER", before: `USER 0\n${run}`, after: `USER 1\n${run}` },
    { name: "the group of USER", before: `USER 1\n${run}`, after: `USER 1:2\n${run}` },
    { name: "WORKDIR that is there", before: `WORKDIR /bin\n${run}`, after: `WORKDIR /\n${run}` },
    { name: "SHELL", before: run, after: `SHELL ["/bin/busybox", "sh", "-c"]\n${run}` },
    { name: "exec form", before: run, after: 'RUN ["true"]' },
    { name: "--network", before: run, after: "RUN --network=none true" },
    {
      name: "a declared proxy",
      before: `ARG HTTP_PROXY\n${run}`,
      options: { buildArgs: { HTTP_PROXY: "x" } },
    },
    { name: "the layer below", before: `COPY d/a /a\n${run}`, change: (lab) => lab.write({ "d/a": "A" }) },
    { name: "ENV that becomes an ARG", before: `ENV A=1\n${run}`, after: `ARG A=1\n${run}` },
  ];
  test.each(cases)("$name", async (variation) => {
    expect(await isRebuilt(variation, BUSYBOX_BASE)).toBe(true);
  });

  test("a heredoc's text and its interpreter", async () => {
    await using lab = await openLab();
    const script = (body: string): string => `${BUSYBOX_BASE}RUN <<E\n${body}\nE\n`;
    await lab.build(script("true"));
    for (const body of ["true # changed", "#!/bin/busybox sh\ntrue"]) {
      expect((await lab.build(script(body))).built, body).toEqual(["RUN <<E"]);
    }
  });
});

describe("S03, S04: RUN must hit", () => {
  const cases: readonly Variation[] = [
    { name: "nothing", before: run },
    {
      name: "what a process cannot see",
      before: run,
      after: `LABEL a=1\nCMD x\nENTRYPOINT y\nEXPOSE 1\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK CMD z\nONBUILD RUN x\nMAINTAINER me\n${run}`,
    },
    { name: "an ARG without a value", before: run, after: `ARG A\n${run}` },
    { name: "an undeclared proxy", before: run, options: { buildArgs: { https_proxy: "http://u:p@h" } } },
    { name: "files of the context", before: run, change: (lab) => lab.write({ "d/a": "A" }) },
    { name: "ENV that is set to what it was", before: `ENV A=1\n${run}`, after: `ENV A=0\nENV A=1\n${run}` },
  ];
  test.each(cases)("$name", async (variation) => {
    expect(await isRebuilt(variation, BUSYBOX_BASE)).toBe(false);
  });
});

describe("a cached step and a built one give the same image", () => {
  test("metadata that is taken from the cache has the values of now (stale ENV X=$ARG)", async () => {
    await using lab = await openLab();
    const file = "FROM scratch\nARG V\nENV X=$V\nLABEL l=$V\nUSER $V\nWORKDIR /w\n";
    await lab.build(file, { buildArgs: { V: "1" } });
    const { result } = await lab.build(file, { buildArgs: { V: "2" } });
    expect(result.config.config).toMatchObject({ Labels: { l: "2" }, User: "2", WorkingDir: "/w" });
    expect(result.config.config.Env).toContain("X=2");
    expect((await lab.build(file, { buildArgs: { V: "1" } })).result.config.config.Env).toContain("X=1");
  });

  test("S02: an undeclared proxy is in the process and nowhere else", async () => {
    await using lab = await openLab();
    const canary = "http://user:canary-8261@proxy.invalid";
    const { output, result } = await lab.build(
      `${BUSYBOX_BASE}RUN echo "$HTTP_PROXY $no_proxy"\nENV A=$HTTP_PROXY.\n`,
      {
        buildArgs: { HTTP_PROXY: canary, no_proxy: "canary-8261" },
      },
    );
    expect(output).toBe(`${canary} canary-8261\n`);
    expect(result.config.config.Env).toContain("A=.");
    expect(JSON.stringify(result.config)).not.toContain("canary");
    const filesWith = (text: string): string =>
      execFileSync("sh", ["-c", 'grep -rlF "$1" "$0" || true', join(lab.dir, "root"), text]).toString();
    expect(filesWith("$HTTP_PROXY $no_proxy")).not.toBe("");
    expect(filesWith("canary-8261")).toBe("");
  });
});
