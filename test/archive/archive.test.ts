import { execFileSync } from "node:child_process";
import { linkSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { pack } from "tar-stream";
import { describe, expect, test } from "vitest";
import { findMismatches, isIndex, parseManifest } from "../../src/image/index.js";
import { openCooper } from "../../src/index.js";
import type { SaveFormat } from "../../src/index.js";
import type { Lab } from "../support/lab.js";
import { openLab } from "../support/lab.js";
import { testWith } from "../support/packages.js";

const skopeo = (...args: string[]): string => execFileSync("skopeo", args, { encoding: "utf8" });

const TRANSPORTS: Readonly<Record<SaveFormat, string>> = {
  "oci-archive": "oci-archive:",
  "oci-dir": "oci:",
  "docker-archive": "docker-archive:",
};

async function sample(lab: Lab) {
  lab.write({ "t/a": "alpha", "t/b": { text: "beta", mode: 0o4755 } });
  return lab.build('FROM scratch\nCOPY --chown=5:6 t /t\nENV A=1\nCOPY t/a /c\nCMD ["/t/b"]\n', {
    tags: ["sample"],
  });
}

describe("save and load", () => {
  test.each<SaveFormat>(["oci-archive", "oci-dir", "docker-archive"])(
    "%s: skopeo reads it, and loading gives the same image",
    async (format) => {
      await using lab = await openLab();
      const { result } = await sample(lab);
      const dest = join(lab.dir, "saved");
      await lab.cooper.save(["sample"], { format, dest });
      const inspected = JSON.parse(skopeo("inspect", "--config", `${TRANSPORTS[format]}${dest}`)) as {
        config: { Env: string[] };
      };
      expect(inspected.config.Env).toContain("A=1");
      skopeo("copy", "-q", `${TRANSPORTS[format]}${dest}`, `dir:${join(lab.dir, "copied")}`);

      await using other = await openCooper({ root: join(lab.dir, "other") });
      expect(await other.load(dest)).toEqual(["localhost/sample:latest"]);
      expect((await other.inspect("sample")).id).toBe(result.imageId);
      expect((await other.inspect("sample")).config).toEqual(result.config);
    },
  );

  test("manifest and config of what is saved agree", async () => {
    await using lab = await openLab();
    const { result } = await sample(lab);
    const dest = join(lab.dir, "saved");
    await lab.cooper.save(["sample"], { format: "oci-dir", dest });
    const index = parseManifest(readFileSync(join(dest, "index.json")), undefined, "index");
    const [descriptor] = isIndex(index) ? index.manifests : [];
    const bytes = readFileSync(
      join(dest, "blobs/sha256", (descriptor?.digest ?? "").slice("sha256:".length)),
    );
    const manifest = parseManifest(bytes, descriptor?.mediaType, "manifest");
    expect(isIndex(manifest) ? ["an index"] : findMismatches(manifest, result.config)).toEqual([]);
  });

  test("the same image saves to the same bytes twice", async () => {
    await using lab = await openLab();
    await sample(lab);
    for (const name of ["1", "2"])
      await lab.cooper.save(["sample"], { format: "oci-archive", dest: join(lab.dir, name) });
    expect(readFileSync(join(lab.dir, "1")).equals(readFileSync(join(lab.dir, "2")))).toBe(true);
  });

  test("what skopeo writes, also gzipped, is loaded", async () => {
    await using lab = await openLab();
    const { result } = await sample(lab);
    const dest = join(lab.dir, "saved");
    await lab.cooper.save(["sample"], { format: "oci-archive", dest });
    skopeo(
      "copy",
      "-q",
      `oci-archive:${dest}`,
      `docker-archive:${join(lab.dir, "docker.tar")}:from/skopeo:1`,
    );
    execFileSync("gzip", [join(lab.dir, "docker.tar")]);
    await using other = await openCooper({ root: join(lab.dir, "other") });
    expect(await other.load(join(lab.dir, "docker.tar.gz"))).toEqual(["docker.io/from/skopeo:1"]);
    expect((await other.images())[0]?.size).toBe((await lab.cooper.inspect(result.imageId)).size);
  });

  test("a save into a full or missing place leaves nothing behind", async () => {
    await using lab = await openLab();
    await sample(lab);
    await expect(
      lab.cooper.save(["sample"], { format: "oci-archive", dest: join(lab.dir, "no/such/dir/x") }),
    ).rejects.toMatchObject({ code: "io" });
    await expect(
      lab.cooper.save(["sample"], { format: "oci-archive", dest: "/dev/full/x" }),
    ).rejects.toMatchObject({ code: "io" });
    await expect(
      lab.cooper.save(["nope"], { format: "oci-archive", dest: join(lab.dir, "x") }),
    ).rejects.toMatchObject({ code: "not-found" });
  });
});

describe("type=local", () => {
  testWith(
    ["root", "setcap"],
    "keeps owners, modes, exact times, hard links, fifos and file capabilities",
    async () => {
      await using lab = await openLab();
      lab.write({ "t/tool": { text: "tool", mode: 0o4755 } });
      linkSync(join(lab.context, "t/tool"), join(lab.context, "t/same"));
      execFileSync("mkfifo", [join(lab.context, "t/pipe")]);
      execFileSync("touch", ["-d", "2001-02-03T04:05:06.123456789Z", join(lab.context, "t/tool")]);
      execFileSync("setcap", ["cap_net_raw+ep", join(lab.context, "t/tool")]);
      const dest = join(lab.dir, "out");
      await lab.build("FROM scratch\nCOPY --chown=5:6 t /t\n", { outputs: [{ type: "local", dest }] });
      const tool = lstatSync(join(dest, "t/tool"), { bigint: true });
      expect([tool.uid, tool.gid, tool.mode & 0o7777n, tool.mtimeNs]).toEqual([
        5n,
        6n,
        0o4755n,
        981_173_106_123_456_789n,
      ]);
      expect(lstatSync(join(dest, "t/same"), { bigint: true }).ino).toBe(tool.ino);
      expect(lstatSync(join(dest, "t/pipe")).isFIFO()).toBe(true);
      expect(execFileSync("getcap", [join(dest, "t/tool")], { encoding: "utf8" })).toContain(
        "cap_net_raw=ep",
      );
    },
  );
});

type Entry = readonly [name: string, content: string | Buffer, type?: "file" | "symlink"];

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const [name, content, type = "file"] of entries) {
    if (type === "symlink") archive.entry({ name, type, linkname: String(content) });
    else archive.entry({ name }, content);
  }
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");

describe("L20: hostile archives", () => {
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {},
    layers: [],
  });
  const index = JSON.stringify({
    schemaVersion: 2,
    manifests: [
      {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest: `sha256:${sha256(manifest)}`,
        size: manifest.length,
      },
    ],
  });
  const cases: readonly (readonly [string, readonly Entry[], RegExp])[] = [
    ["no document at all", [["hello", "x"]], /neither an OCI archive nor a docker archive/],
    [
      "one name twice",
      [
        ["index.json", index],
        ["index.json", index],
      ],
      /stands twice/,
    ],
    [
      "a blob whose bytes are not its name's",
      [
        ["index.json", index],
        [`blobs/sha256/${sha256("a")}`, "b"],
      ],
      /sha256|digest/,
    ],
    ["a missing manifest", [["index.json", index]], /not found|not stored|missing|no blob/i],
    [
      "a config outside the archive",
      [["manifest.json", JSON.stringify([{ Config: "../../etc/passwd", Layers: [] }])]],
      /etc\/passwd is missing/,
    ],
    [
      "a layer that is a link out of it",
      [
        ["manifest.json", JSON.stringify([{ Config: "c.json", Layers: ["l"] }])],
        ["c.json", "{}"],
        ["l", "/etc/passwd", "symlink"],
      ],
      /layer l is missing/,
    ],
    ["garbage for an index", [["index.json", "[]"]], /not a JSON object/],
  ];

  test.each(cases)("%s", async (_name, entries, message) => {
    await using lab = await openLab();
    const path = join(lab.dir, "hostile.tar");
    writeFileSync(path, await tarOf(entries));
    const failure = lab.cooper.load(path);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toMatchObject({ name: "CooperError" });
    expect(await lab.cooper.images({ all: true })).toEqual([]);
  });

  test("a truncated archive is an error, not a crash", async () => {
    await using lab = await openLab();
    await sample(lab);
    const dest = join(lab.dir, "saved");
    await lab.cooper.save(["sample"], { format: "oci-archive", dest });
    const bytes = readFileSync(dest);
    await using other = await openCooper({ root: join(lab.dir, "other") });
    for (const share of [0.3, 0.6, 0.9]) {
      writeFileSync(join(lab.dir, "cut"), bytes.subarray(0, Math.floor(bytes.length * share)));
      await expect(other.load(join(lab.dir, "cut"))).rejects.toMatchObject({ name: "CooperError" });
    }
    expect(await other.images({ all: true })).toEqual([]);
  });

  test("links inside a layout directory are not followed", async () => {
    await using lab = await openLab();
    const layout = join(lab.dir, "layout");
    mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
    writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    writeFileSync(join(layout, "index.json"), index);
    writeFileSync(join(lab.dir, "outside"), manifest);
    symlinkSync(join(lab.dir, "outside"), join(layout, "blobs/sha256", sha256(manifest)));
    await expect(lab.cooper.load(layout)).rejects.toThrow(/symbolic links|ELOOP/);
  });
});
