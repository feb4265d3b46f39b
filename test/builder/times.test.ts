import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/index.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import type { Lab } from "../support/lab.js";

const EPOCH = 1_000_000_000;
const SHOWN = "2001-09-09T01:46:40Z";

const QUIET = `FROM scratch
WORKDIR /deep/er
COPY files /files
COPY <<END /made/here
text
END
ENV A=1
LABEL b=2
`;

function openQuietLab(): Promise<Lab> {
  return openLab().then((lab) => {
    lab.write({ "files/a": "a", "files/dir/b": "b" });
    for (const [name, seconds] of [
      ["a", 1_700_000_000],
      ["dir/b", 915_148_800],
      ["dir", 1_600_000_000],
      [".", 1_600_000_000],
    ] as const) {
      utimesSync(join(lab.context, "files", name), seconds, seconds);
    }
    return lab;
  });
}

/** The id of an image built in a store of its own. */
async function idOf(containerfile: string, options: Partial<BuildOptions>): Promise<string> {
  await using lab = await openQuietLab();
  return (await lab.build(containerfile, options)).result.imageId;
}

/** Names and modification times (seconds) of all layers' entries, by layer. */
async function layerTimes(lab: Lab, id: string): Promise<readonly ReadonlyMap<string, number>[]> {
  const dir = join(lab.dir, `layers-${readdirSync(lab.dir).length}`);
  mkdirSync(dir);
  await lab.cooper.save([id], { format: "docker-archive", dest: `${dir}/image.tar` });
  execFileSync("tar", ["-xf", "image.tar"], { cwd: dir });
  const [image] = JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8")) as [{ Layers: string[] }];
  return image.Layers.map((layer) => {
    const listed = execFileSync("tar", ["--utc", "--full-time", "-tvf", layer], { cwd: dir }).toString();
    return new Map(
      listed
        .trim()
        .split("\n")
        .map((line) => {
          const [, , , date, time, name = ""] = line.split(/ +/);
          return [name, Date.parse(`${date}T${time}Z`) / 1000];
        }),
    );
  });
}

const timesOf = async (lab: Lab, id: string): Promise<readonly number[]> =>
  (await layerTimes(lab, id)).flatMap((layer) => [...layer.values()]);

describe("a time given for the image", () => {
  test("is that of the image and of every history entry", async () => {
    await using lab = await openQuietLab();
    const { result } = await lab.build(QUIET, { sourceDateEpoch: EPOCH });
    expect(result.config.created).toBe(SHOWN);
    expect(result.config.history.map((entry) => entry.created)).toEqual(Array(5).fill(SHOWN));
  });

  test("gives one image id in every store, on every day", async () => {
    const ids = [
      await idOf(QUIET, { sourceDateEpoch: EPOCH }),
      await idOf(QUIET, { sourceDateEpoch: EPOCH }),
    ];
    expect(new Set(ids).size).toBe(1);
    expect(await idOf(QUIET, {})).not.toBe(ids[0]);
  });

  test("may come as a build arg, declared or not", async () => {
    const id = await idOf(QUIET, { sourceDateEpoch: EPOCH });
    expect(await idOf(QUIET, { buildArgs: { SOURCE_DATE_EPOCH: String(EPOCH) } })).toBe(id);
    expect(await idOf(QUIET, { buildArgs: { SOURCE_DATE_EPOCH: "" }, sourceDateEpoch: EPOCH })).toBe(id);
  });

  test("is what RUN sees where ARG SOURCE_DATE_EPOCH is declared, and nowhere else", async () => {
    await using lab = await openLab();
    const file = `${BUSYBOX_BASE}RUN echo "[$SOURCE_DATE_EPOCH]"
ARG SOURCE_DATE_EPOCH
RUN echo "[$SOURCE_DATE_EPOCH]"
`;
    const { output } = await lab.build(file, { sourceDateEpoch: EPOCH });
    expect(output).toBe(`[]\n[${EPOCH}]\n`);
  });

  test("a default of the Containerfile's own is an ARG like others", async () => {
    await using lab = await openQuietLab();
    const { result } = await lab.build("FROM scratch\nARG SOURCE_DATE_EPOCH=5\nENV A=$SOURCE_DATE_EPOCH\n");
    expect(result.config.config.Env).toContain("A=5");
    expect(Date.parse(result.config.created ?? "")).toBeGreaterThan(Date.parse("2020-01-01"));
  });

  test("leaves files their times, and nothing that a step makes is later than it", async () => {
    await using lab = await openQuietLab();
    const { result } = await lab.build(QUIET, { sourceDateEpoch: 0 });
    const [workdir, copied, heredoc] = await layerTimes(lab, result.imageId);
    expect(Object.fromEntries(workdir ?? [])).toEqual({ "deep/": 0, "deep/er/": 0 });
    expect(Object.fromEntries(copied ?? [])).toMatchObject({
      "files/a": 1_700_000_000,
      "files/dir/b": 915_148_800,
    });
    expect(Object.fromEntries(heredoc ?? [])).toEqual({ "made/": 0, "made/here": 0 });
  });
});

describe("the cache and times", () => {
  test("steps are reused across epochs, and each image has its own build's times", async () => {
    await using lab = await openQuietLab();
    const plain = await lab.build(QUIET);
    const dated = await lab.build(QUIET, { sourceDateEpoch: EPOCH });
    const later = await lab.build(QUIET, { sourceDateEpoch: EPOCH + 1 });
    const again = await lab.build(QUIET);
    expect([dated, later, again].map(({ result }) => result.steps)).toEqual(
      Array(3).fill({ cached: 5, built: 0 }),
    );
    expect(dated.result.config.created).toBe(SHOWN);
    expect(later.result.config.created).toBe("2001-09-09T01:46:41Z");
    expect(again.result.imageId).toBe(plain.result.imageId);
  });

  test("a step that was first built with an epoch shows its real time without", async () => {
    await using lab = await openQuietLab();
    const before = Date.now();
    await lab.build(QUIET, { sourceDateEpoch: EPOCH });
    const { result } = await lab.build(QUIET);
    expect(result.steps).toEqual({ cached: 5, built: 0 });
    for (const { created } of result.config.history) {
      expect(Date.parse(created ?? "")).toBeGreaterThanOrEqual(before);
    }
  });

  test("rewritten layers and others are not taken for one another", async () => {
    await using lab = await openQuietLab();
    const kept = await lab.build(QUIET, { sourceDateEpoch: EPOCH });
    const rewritten = await lab.build(QUIET, { sourceDateEpoch: EPOCH, rewriteTimestamps: "later" });
    expect(rewritten.built).toContain("COPY files /files");
    expect(rewritten.result.imageId).not.toBe(kept.result.imageId);
    const moved = await lab.build(QUIET, { sourceDateEpoch: EPOCH + 1, rewriteTimestamps: "later" });
    expect(moved.reasons.get("COPY files /files")).toContain("the time given for files changed");
    expect((await lab.build(QUIET, { sourceDateEpoch: EPOCH })).result.imageId).toBe(kept.result.imageId);
  });
});

describe("rewritten timestamps", () => {
  const RUNNING = `${BUSYBOX_BASE}WORKDIR /w
COPY files /files
RUN mkdir -p /w/new && echo x > /w/new/file && ln -s file /w/new/link && ln /w/new/file /w/hard && rm /bin/vi
`;

  test("'later': nothing in any layer is later, what is earlier stays, and RUN is reproducible", async () => {
    await using lab = await openQuietLab();
    const options = { sourceDateEpoch: EPOCH, rewriteTimestamps: "later" } as const;
    const { result } = await lab.build(RUNNING, options);
    const times = await timesOf(lab, result.imageId);
    expect(Math.max(...times)).toBe(EPOCH);
    expect(times).toContain(915_148_800);
    expect(await idOf(RUNNING, options)).toBe(result.imageId);
  });

  test("the layer that a later RUN sees has those times, and so has its copy in a registry", async () => {
    await using lab = await openQuietLab();
    const { output, result } = await lab.build(`${RUNNING}RUN stat -c %Y /w/new/file /w/new /w/new/link\n`, {
      sourceDateEpoch: EPOCH,
      rewriteTimestamps: "later",
    });
    expect(output).toBe(`${EPOCH}\n`.repeat(3));
    const out = join(lab.dir, "image.tar");
    await lab.cooper.save([result.imageId], { format: "oci-archive", dest: out });
    await using other = await openLab();
    expect(await other.cooper.load(out)).toEqual([result.imageId]);
  });

  test("'all': every entry of a new layer has the time", async () => {
    await using lab = await openQuietLab();
    const { result } = await lab.build(RUNNING, { sourceDateEpoch: EPOCH, rewriteTimestamps: "all" });
    expect(new Set((await timesOf(lab, result.imageId)).filter((time) => time !== 0))).toEqual(
      new Set([EPOCH]),
    );
  });
});

describe("values that are no time", () => {
  const build = async (options: Partial<BuildOptions>): Promise<unknown> =>
    idOf("FROM scratch\nENV A=1\n", options);

  test.each(["abc", "-5", "1.5", " 7", "1e9", "253402300800", "99999999999999"])("%j", async (text) => {
    await expect(build({ buildArgs: { SOURCE_DATE_EPOCH: text } })).rejects.toMatchObject({
      code: "usage",
      message: `SOURCE_DATE_EPOCH is "${text}": it must be whole seconds since 1970, at most 253402300799 (the year 9999)`,
    });
  });

  test("nor are two of them, or none where one is needed", async () => {
    await expect(build({ sourceDateEpoch: 1.5 })).rejects.toMatchObject({ code: "usage" });
    await expect(build({ sourceDateEpoch: 1, buildArgs: { SOURCE_DATE_EPOCH: "2" } })).rejects.toMatchObject({
      message: expect.stringContaining("two times") as string,
    });
    await expect(build({ rewriteTimestamps: "later" })).rejects.toMatchObject({
      message: "timestamps cannot be rewritten: no time was given",
    });
  });
});
