import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, linkSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CooperEvent } from "../../src/index.js";
import type { Lab } from "../support/lab.js";
import { BUSYBOX_BASE, openLab } from "../support/lab.js";
import { describeWith } from "../support/packages.js";
import type { TestRegistry } from "../support/registry.js";
import { startRegistry } from "../support/registry.js";

const insecure = { tlsVerify: false } as const;
const NEEDS = ["root", "mounts", "busybox", "docker-registry"];

let registry: TestRegistry;

function withRegistry(): void {
  beforeAll(async () => {
    registry = await startRegistry();
  });
  afterAll(() => registry.stop());
}

async function manifestDigest(name: string): Promise<string | null> {
  const [, repository = "", tag = ""] = /^[^/]+\/(.*):([^:]*)$/.exec(name) ?? [];
  const answer = await fetch(`${registry.url}/v2/${repository}/manifests/${tag}`, {
    headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
  });
  expect(answer.status).toBe(200);
  await answer.arrayBuffer();
  return answer.headers.get("docker-content-digest");
}

describeWith([...NEEDS, "setcap"], "an image that goes through a registry", () => {
  withRegistry();

  test("is the same image in a second store, and the same manifest when that pushes it", async () => {
    await using one = await openLab();
    await using two = await openLab();
    const name = `${registry.host}/a/same:1`;
    one.write({ a: "text" });
    const { result } = await one.build(`${BUSYBOX_BASE}COPY a /a\nRUN true\nENV A=1\n`, { tags: [name] });
    const pushed = await one.cooper.push(name, undefined, insecure);
    expect(await manifestDigest(name)).toBe(pushed.digest);

    const events: CooperEvent[] = [];
    const pulled = await two.cooper.pull(name, { ...insecure, onEvent: (event) => events.push(event) });
    expect(pulled).toMatchObject({ id: result.imageId, names: [name] });
    expect((await two.cooper.inspect(name)).config).toEqual(result.config);
    const kinds = events.flatMap((event) =>
      event.type === "transfer" && event.doneBytes === event.totalBytes ? [event.kind] : [],
    );
    expect(kinds).toEqual(["layer", "layer", "layer", "layer", "config", "manifest"]);

    const again = `${registry.host}/b/same:2`;
    expect((await two.cooper.push(name, again, insecure)).digest).toBe(pushed.digest);
    expect(await manifestDigest(again)).toBe(pushed.digest);
    const chunks: Uint8Array[] = [];
    const code = await two.cooper.run(name, {
      command: ["cat", "/a"],
      onOutput: (_stream, chunk) => chunks.push(chunk),
    });
    expect([code, Buffer.concat(chunks).toString()]).toEqual([0, "text"]);
  });

  test("keeps capabilities, setuid, hard links, owners and nanoseconds, also where a RUN moves them", async () => {
    await using one = await openLab();
    await using two = await openLab();
    makeOddTree(join(one.dir, "odd"), join(one.context, "odd.tar"));
    const name = `${registry.host}/a/odd:1`;
    await one.build(`${BUSYBOX_BASE}ADD odd.tar /\n`, { tags: [name] });
    await one.cooper.push(name, undefined, insecure);

    const moved = `${registry.host}/a/odd:moved`;
    const from = `FROM ${name}\nRUN mv /odd/capable /odd/setuid /\n`;
    await two.build(from, { ...insecure, tags: [moved] });
    await two.cooper.push(moved, undefined, insecure);
    await using three = await openLab();
    await three.cooper.pull(moved, insecure);
    const archive = join(three.dir, "moved.tar");
    await three.cooper.save([moved], { format: "docker-archive", dest: archive });
    const out = unpackedByTar(archive, join(three.dir, "out"));
    const at = (path: string) => lstatSync(join(out, path), { bigint: true });
    expect(execFileSync("getcap", [join(out, "capable")], { encoding: "utf8" })).toContain("cap_net_raw=ep");
    expect(at("setuid").mode & 0o7777n).toBe(0o4755n);
    expect([at("odd/owned").uid, at("odd/owned").gid]).toEqual([12_345n, 54_321n]);
    expect(at("odd/owned").mtimeNs).toBe(981_173_106_123_456_789n);
    expect(at("odd/linked").ino).toBe(at("odd/owned").ino);
    expect(at("odd").mode & 0o7777n).toBe(0o2750n);
  });

  test("can be named by digest, pulled and built on, from the cache when the registry is gone", async () => {
    await using own = await startRegistry();
    await using one = await openLab();
    await using two = await openLab();
    one.write({ a: "1" });
    two.write({ b: "2" });
    const name = `${own.host}/a/pinned:1`;
    const { result } = await one.build("FROM scratch\nCOPY a /a\n", { tags: [name] });
    const { digest } = await one.cooper.push(name, undefined, insecure);
    const pinned = `${own.host}/a/pinned@${digest}`;
    const containerfile = `FROM ${pinned}\nCOPY b /b\n`;
    const first = await two.build(containerfile, insecure);
    expect(first.result.steps).toEqual({ cached: 0, built: 1 });
    expect((await two.cooper.inspect(pinned)).id).toBe(result.imageId);
    expect((await two.cooper.pull(pinned, insecure)).id).toBe(result.imageId);
    await own.stop();
    const second = await two.build(containerfile, insecure);
    expect(second.result).toMatchObject({ imageId: first.result.imageId, steps: { cached: 1, built: 0 } });
    const wrong = `${own.host}/a/pinned@sha256:${"0".repeat(64)}`;
    await expect(two.build(`FROM ${wrong}\n`, { ...insecure, pull: "never" })).rejects.toMatchObject({
      code: "not-found",
    });
  });

  test("is chosen for our platform out of an index", async () => {
    await using one = await openLab();
    await using two = await openLab();
    one.write({ a: "ours", b: "theirs" });
    const names = { ours: `${registry.host}/a/index:ours`, theirs: `${registry.host}/a/index:theirs` };
    const { result } = await one.build("FROM scratch\nCOPY a /a\n", { tags: [names.ours] });
    await one.build("FROM scratch\nCOPY b /b\n", { tags: [names.theirs] });
    const ours = await one.cooper.push(names.ours, undefined, insecure);
    const theirs = await one.cooper.push(names.theirs, undefined, insecure);
    const { architecture } = result.config;
    const other = architecture === "s390x" ? "ppc64le" : "s390x";
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [
        { ...theirs, platform: { os: "linux", architecture: other } },
        { ...ours, platform: { os: "linux", architecture } },
      ],
    };
    const put = await fetch(`${registry.url}/v2/a/index/manifests/all`, {
      method: "PUT",
      headers: { "content-type": index.mediaType },
      body: JSON.stringify(index),
    });
    expect(put.status).toBe(201);
    expect((await two.cooper.pull(`${registry.host}/a/index:all`, insecure)).id).toBe(result.imageId);
  });
});

/** The image's files as GNU tar unpacks its layers. */
function unpackedByTar(archive: string, dir: string): string {
  const [parts, out] = [join(dir, "parts"), join(dir, "root")];
  for (const each of [parts, out]) mkdirSync(each, { recursive: true });
  execFileSync("tar", ["-xf", archive, "-C", parts]);
  const [image] = JSON.parse(readFileSync(join(parts, "manifest.json"), "utf8")) as readonly {
    readonly Layers: readonly string[];
  }[];
  for (const layer of image?.Layers ?? [])
    execFileSync("tar", [
      "--xattrs",
      "--xattrs-include=*",
      "--numeric-owner",
      "-xpf",
      join(parts, layer),
      "-C",
      out,
    ]);
  return out;
}

/** Makes a tree of what gets lost most easily, and a tar of it. */
function makeOddTree(root: string, tar: string): void {
  const dir = join(root, "odd");
  mkdirSync(dir, { recursive: true });
  for (const name of ["capable", "setuid", "owned"]) writeFileSync(join(dir, name), name, { mode: 0o755 });
  chownSync(join(dir, "owned"), 12_345, 54_321);
  linkSync(join(dir, "owned"), join(dir, "linked"));
  chmodSync(join(dir, "setuid"), 0o4755);
  execFileSync("setcap", ["cap_net_raw+ep", join(dir, "capable")]);
  execFileSync("touch", ["-d", "2001-02-03 04:05:06.123456789 UTC", join(dir, "owned")]);
  chmodSync(dir, 0o2750);
  execFileSync("tar", ["--xattrs", "--xattrs-include=*", "--format=pax", "-C", root, "-cf", tar, "odd"]);
}

describeWith(NEEDS, "an AbortSignal", () => {
  withRegistry();

  const content = (lab: Lab): void => {
    // Incompressible and large enough not to be over at once.
    execFileSync("dd", [
      "if=/dev/urandom",
      `of=${join(lab.context, "big")}`,
      "bs=1M",
      "count=48",
      "status=none",
    ]);
  };

  test("ends build, push, pull, save and load, and nothing half-done is left", async () => {
    await using one = await openLab();
    await using two = await openLab();
    content(one);
    const name = `${registry.host}/a/big:1`;
    await one.build("FROM scratch\nCOPY big /big\n", { tags: [name] });
    const aborted = { code: "aborted" };
    const soon = (): { readonly signal: AbortSignal } => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 20);
      return { signal: controller.signal };
    };
    await expect(one.build("FROM scratch\nCOPY big /other\n", soon())).rejects.toMatchObject(aborted);
    await expect(one.cooper.push(name, undefined, { ...insecure, ...soon() })).rejects.toMatchObject(aborted);
    const dest = join(one.dir, "big.tar");
    await expect(one.cooper.save([name], { format: "oci-archive", dest, ...soon() })).rejects.toMatchObject(
      aborted,
    );
    await one.cooper.save([name], { format: "oci-archive", dest });
    await expect(two.cooper.load(dest, soon())).rejects.toMatchObject(aborted);
    await one.cooper.push(name, undefined, insecure);
    await expect(two.cooper.pull(name, { ...insecure, ...soon() })).rejects.toMatchObject(aborted);
    expect(await two.cooper.images({ all: true })).toEqual([]);
    await two.cooper.pull(name, insecure);
    expect((await two.cooper.inspect(name)).size).toBeGreaterThan(48 << 20);
  });

  test("that fired before is enough", async () => {
    await using lab = await openLab();
    lab.write({ a: "1" });
    await lab.build("FROM scratch\nCOPY a /a\n", { tags: ["small"] });
    const signal = AbortSignal.abort();
    const calls: readonly (() => Promise<unknown>)[] = [
      () => lab.build("FROM scratch\nCOPY a /a\nENV A=1\n", { signal }),
      () => lab.cooper.pull(`${registry.host}/a/same:1`, { ...insecure, signal }),
      () => lab.cooper.push("small", `${registry.host}/a/small:1`, { ...insecure, signal }),
      () => lab.cooper.save(["small"], { format: "docker-archive", dest: join(lab.dir, "s.tar"), signal }),
      () => lab.cooper.run("small", { command: ["/a"], signal }),
    ];
    for (const call of calls) await expect(call(), String(call)).rejects.toMatchObject({ code: "aborted" });
  });
});
